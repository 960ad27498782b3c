"""Display of a running plan, in every mode."""

from __future__ import annotations

import io
import itertools
import json
import sys
import time
from collections.abc import Iterator

import pyte
import pytest
from rich.console import Console, ConsoleOptions
from rich.text import Text

from devbox.cli import terminal
from devbox.cli.display import live, plain
from devbox.cli.display.select import choose
from devbox.execute.events import Event, Note, PlanMade, StepEnded, StepLine, StepProgress, StepStarted
from devbox.model.plan import Reason

STEPS = (("bake db", "bake", "db", "not in the store"), ("start db", "start", "db", "not running"))
DONE = StepEnded(
    id="bake db", op="bake", resource="db", reason="not in the store", outcome="done", seconds=41.23, text="180 MB"
)
EVENTS: tuple[Event, ...] = (
    PlanMade(steps=STEPS),
    Note(text="waiting for another devbox"),
    StepStarted(id="bake db", op="bake", resource="db", reason="not in the store"),
    StepProgress(id="bake db", text="downloading", done=1_000_000, total=4_000_000),
    StepLine(id="bake db", text="Get:1 postgresql"),
    DONE,
    StepEnded(id="start db", op="start", resource="db", reason="not running", outcome="failed", seconds=0.5, text="x"),
)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def show(monkeypatch: pytest.MonkeyPatch, kind: str, stream: io.StringIO) -> str:
    monkeypatch.setenv("LANG", "C.UTF-8")
    for name in ("LC_ALL", "LC_CTYPE", "CI", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with choose(kind) as display:
        for event in EVENTS:
            display(event)
    return stream.getvalue()


class Pipe(io.StringIO):
    """A stream that is not a terminal."""

    encoding = "utf-8"


def test_plain_is_one_line_a_step_when_it_ends(monkeypatch):
    assert show(monkeypatch, "plain", Pipe()).splitlines() == [
        "· waiting for another devbox",
        "✓ bake db   180 MB  41.2 s — not in the store",
        "✗ start db  x  0.50 s — not running",
    ]


def test_auto_off_a_terminal_is_plain_without_escapes(monkeypatch):
    shown = show(monkeypatch, "auto", Pipe())
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3


def test_live_leaves_the_lines_without_routine_reasons(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = show(monkeypatch, "tty", Terminal())
    assert "✓ bake db   180 MB  41.2 s — not in the store" in shown
    assert "✗ start db  x  0.50 s\n" in shown.replace("\r", "")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor is given back


@pytest.mark.parametrize("kind", ["plain", "tty"])
def test_words_of_a_file_or_a_program_move_no_cursor(monkeypatch, kind: str):
    hostile = "a\x1b[2J\x1b]0;x\x07\rb"
    events = (
        Note(text=hostile),
        StepStarted(id="s", op="setup", resource="dev", reason=hostile),
        StepProgress(id="s", text=hostile),
        StepLine(id="s", text=hostile),
        StepEnded(id="s", op="setup", resource="dev", reason=hostile, outcome="done", seconds=1, text=hostile),
    )
    monkeypatch.setattr(sys.modules[__name__], "EVENTS", (PlanMade(steps=(("s", "setup", "dev", hostile),)), *events))
    monkeypatch.setenv("NO_COLOR", "1")
    shown = show(monkeypatch, kind, Terminal() if kind == "tty" else Pipe())
    assert not any(part in shown for part in ("\x1b[2J", "\x1b]", "\x07", "\rb"))
    assert r"a\x1b[2J\x1b]0;x\x07\rb" in shown


def test_quiet_is_silent(monkeypatch):
    assert show(monkeypatch, "quiet", Pipe()) == ""


def test_json_is_one_object_an_event(monkeypatch):
    events = [json.loads(line) for line in show(monkeypatch, "json", Pipe()).splitlines()]
    assert [event["event"] for event in events] == ["plan", "note", "started", "progress", "line", "ended", "ended"]
    assert events[3]["total"] == 4_000_000


@pytest.mark.parametrize(
    ("variables", "tty", "color", "live"),
    [
        ({"TERM": "xterm"}, True, True, True),
        ({"TERM": "dumb"}, True, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False, True),
        ({"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False, False),
        ({"FORCE_COLOR": "1"}, False, True, False),
        ({"TERM": "xterm", "CI": "true"}, True, True, False),
    ],
)
def test_the_variables_everyone_knows_are_honoured(monkeypatch, variables, tty, color, live):
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if tty else Pipe()
    assert terminal.has_color(stream) is color
    assert terminal.is_live(stream) is live


def test_without_utf8_the_signs_are_ascii(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    stream = Pipe()
    terminal.print_line("✓ done — fine → next", stream=stream)
    assert stream.getvalue() == "ok done - fine -> next\n"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (2.5e9, "2.5 GB")])
def test_sizes(count: float, text: str):
    assert plain.format_size(count) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (3.4e6, None, "3.4 MB"),
        (3.4e6, 10.9e6, "3.4 of 10.9 MB"),
        (512, 3.4e6, "512 B of 3.4 MB"),
        (0, 2e6, "0 B of 2.0 MB"),
    ],
)
def test_how_much_of_how_much(done: float, total: float | None, text: str):
    assert plain.format_progress(done, total) == text


@pytest.mark.parametrize(
    ("reason", "room", "shown"),
    [
        (Reason.routine("not running"), 80, "start db  healthy  0.30 s"),
        ("not running", 80, "start db  healthy  0.30 s — not running"),
        ("env changed: A, B, C, D, E", 80, "start db  healthy  0.30 s — env changed: A, B, C, D, E"),
        ("env changed: A, B, C, D, E", 46, "start db  healthy  0.30 s — env changed: A, B…"),
        ("env changed: A, B, C, D, E", 30, "start db  healthy  0.30 s"),
    ],
)
def test_at_a_terminal_a_line_stays_one_line(reason: str, room: int, shown: str):
    event = StepEnded(
        id="start db", op="start", resource="db", reason=reason, outcome="done", seconds=0.3, text="healthy"
    )
    assert plain.format_ended_briefly(event, width=8, room=room) == shown


def test_at_a_terminal_a_failure_stays_one_line():
    event = StepEnded(
        id="setup dev", op="setup", resource="dev", reason="x", outcome="failed", seconds=0.3, text="it went wrong " * 9
    )
    shown = plain.format_ended_briefly(event, width=9, room=40)
    assert shown == "setup dev  it went wrong it wen…  0.30 s"
    assert len(shown) == 40


def test_no_line_is_lost_while_the_board_is_drawn_again(monkeypatch: pytest.MonkeyPatch):
    """Drawing takes its time, and the board has another height each time."""
    stream = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "200", "LANG": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(live, "_REDRAWS", 1000)
    heights = itertools.cycle((1, 4, 2))

    class Restless:
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
            for _ in range(next(heights)):
                time.sleep(0.001)
                yield Text("board")

    foot = live.LiveFooter(Restless())
    for number in range(100):
        live.print_line(foot, "✓", "green", f"line {number}")
    foot.stop()

    screen = pyte.Screen(80, 200)
    pyte.Stream(screen).feed(stream.getvalue().replace("\n", "\r\n"))
    left = [line.split(maxsplit=1)[1].rstrip() for line in screen.display if line.strip()]
    assert left == [f"line {number}" for number in range(100)]
