"""A program recorded in a terminal of a given size, in asciinema's format, and the screens that it showed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pyte
from support.terminals import sized

FORMAT = 2  # asciinema's
CLEAR = "\x1b[H\x1b[2J"


@dataclass
class Recording:
    """The output of a program with times, in seconds from its start."""

    columns: int
    rows: int
    events: list[tuple[float, str]] = field(default_factory=list)
    exit_code: int | None = None

    def screens(self) -> Iterator[pyte.Screen]:
        """The screen after each write: one object that is updated."""
        screen = pyte.Screen(self.columns, self.rows)
        stream = pyte.Stream(screen)
        for _, text in self.events:
            stream.feed(text)
            yield screen

    def last(self) -> pyte.Screen:
        """The screen at the end."""
        *_, screen = self.screens()
        return screen

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.events[-1][0]

    def until(self, desired: Callable[[Sequence[str]], object]) -> Recording:
        """The recording up to the first screen whose lines are wanted."""
        for number, screen in enumerate(self.screens(), start=1):
            if desired(shown(screen)):
                return Recording(self.columns, self.rows, self.events[:number])
        raise LookupError("the recording never showed that")

    def save(self, path: Path, *, title: str, every: float = 1.0) -> None:
        """Write it for `asciinema play`: the screens without colour, one for each `every` seconds, and the last."""
        head = {"version": FORMAT, "width": self.columns, "height": self.rows, "title": title}
        lines, following = [json.dumps(head)], 0.0
        for number, ((at, _), screen) in enumerate(zip(self.events, self.screens(), strict=True), start=1):
            if at >= following or number == len(self.events):
                lines.append(json.dumps([round(at, 1), "o", CLEAR + "\r\n".join(shown(screen))], ensure_ascii=False))
                following = at + every
        path.write_text("\n".join(lines) + "\n")


def record(
    argv: Sequence[str],
    *,
    columns: int,
    rows: int = 30,
    cwd: Path,
    env: Mapping[str, str],
    interrupt: Callable[[str], bool] = lambda _: False,
    timeout: float = 600,
) -> Recording:
    """Run a program in a terminal to its end. Ctrl-C is pressed once when `interrupt` says so of all it wrote."""
    began = time.monotonic()
    child = pexpect.spawn(
        argv[0],
        list(argv[1:]),
        cwd=str(cwd),
        env={**env, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        **sized(rows, columns),
        timeout=timeout,
        encoding="utf8",
    )
    made, pressed = Recording(columns, rows), False
    while True:
        try:
            text = child.read_nonblocking(4096, timeout)
        except pexpect.EOF:
            break
        made.events.append((time.monotonic() - began, text))
        if not pressed and interrupt("".join(text for _, text in made.events)):
            child.sendintr()
            pressed = True
    child.close()
    made.exit_code = child.exitstatus if child.exitstatus is not None else -(child.signalstatus or 0)
    return made


def shown(screen: pyte.Screen) -> list[str]:
    """The lines of a screen that have something on them."""
    return [line.rstrip() for line in screen.display if line.strip()]
