"""The board of running steps, as rich draws it: one line a step, and its last output dimmed below."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.text import Text

from devbox.cli.display import gray, lines, live
from devbox.errors import one_line
from devbox.execute.events import Event, Looked, StepLine, StepProgress, StepStarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions

    from devbox.gray.glance import Glance

_BAR = 12  # columns of a progress bar


class _Step:
    """One running step: when it began, what it does, how far it is, what it printed last."""

    def __init__(self, name: str, *, began: float) -> None:
        self.name = name
        self.began = began
        self.text = ""
        self.line = ""
        self.fraction: float | None = None
        self.done: int | None = None
        self.total: int | None = None


class Board:
    """What runs now. Told by the display under its lock; drawn by rich's own thread."""

    def __init__(self, *, steps: int, width: int, unicode: bool) -> None:
        self._steps = steps
        self._width = width
        self._unicode = unicode
        self._running: dict[str, _Step] = {}
        self._finished = 0
        self._began = time.monotonic()
        self._glance: Glance | None = None

    def tell(self, event: Event, *, now: float) -> None:
        """Take in a step's start, progress or line."""
        match event:
            case StepStarted():
                self._running[event.id] = _Step(f"{event.op} {event.resource}", began=now)
            case StepProgress() if step := self._running.get(event.id):
                step.text, step.done, step.total = one_line(event.text), event.done, event.total
                step.fraction = event.done / event.total if event.done is not None and event.total else event.fraction
            case StepLine() if step := self._running.get(event.id):
                step.line = one_line(event.text.strip())
            case Looked():
                self._glance = event.glance
            case _:
                pass

    def forget(self, step: str) -> None:
        """A step ended; its final line is printed above."""
        self._running.pop(step, None)
        self._finished += 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw at this moment, every line cut to the terminal."""
        now = time.monotonic()
        room = max(options.max_width - 1, 1)
        for step in list(self._running.values()):
            yield self._cut(self._head(step, now), room)
            if step.line:
                yield self._cut(Text(f"    {step.line}", style="dim"), room)
        if self._glance is not None:
            shown = gray.lines(self._glance, unicode=self._unicode)
            yield from (self._cut(Text(line.text, style=line.color), room) for line in shown)
            return
        count = f"  {self._finished} of {self._steps} steps · {lines.elapsed(now - self._began)}"
        yield self._cut(Text(count, style="dim"), room)

    def _head(self, step: _Step, now: float) -> Text:
        head = Text.assemble(
            (live.spinner(now - self._began, unicode=self._unicode), "yellow"),
            f" {step.name.ljust(self._width)}",
            (f"  {lines.elapsed(now - step.began)}", "dim"),
        )
        if step.fraction is not None:
            head.append("  ").append_text(self._bar(step.fraction))
        if step.done:
            head.append(f"  {lines.progress(step.done, step.total)}")
        if step.text:
            head.append(f"  {step.text}")
        return head

    def _bar(self, share: float) -> Text:
        full, empty = ("━", "─") if self._unicode else ("#", ".")
        filled = round(min(share, 1.0) * _BAR)
        return Text.assemble((full * filled, "green"), (empty * (_BAR - filled), "dim"))

    def _cut(self, text: Text, room: int) -> Text:
        return live.cut(text, room, unicode=self._unicode)
