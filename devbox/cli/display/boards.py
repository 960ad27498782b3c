"""Boards of running steps and cells, rendered by rich: one line each, plus the last output line of steps."""

from __future__ import annotations

import time
from collections import Counter

from rich.text import Text

from devbox.cli import terminal
from devbox.cli.display import gray, plain
from devbox.errors import to_one_line
from devbox.execute.events import Event, Looked, StepLine, StepProgress, StepStarted
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports import grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions

    from devbox.gray.summary import GraySummary
    from devbox.model.matrix import MatrixEvent

_SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPIN_ASCII = "|/-\\"
_SPINS = 10  # per second
_BAR = 12  # columns of a progress bar


class _RunningStep:
    """A running step: start time, activity, progress and last output line."""

    def __init__(self, name: str, *, began: float) -> None:
        self.name = name
        self.began = began
        self.text = ""
        self.line = ""
        self.fraction: float | None = None
        self.done: int | None = None
        self.total: int | None = None


class StepBoard:
    """Board of running steps. Updated by the display under its lock; drawn by rich's own thread."""

    def __init__(self, *, steps: int, width: int, unicode: bool) -> None:
        self._steps = steps
        self._width = width
        self._unicode = unicode
        self._running: dict[str, _RunningStep] = {}
        self._finished = 0
        self._began = time.monotonic()
        self._summary: GraySummary | None = None

    def update(self, event: Event, *, now: float) -> None:
        """Apply a step's start, progress or output line."""
        match event:
            case StepStarted():
                self._running[event.id] = _RunningStep(f"{event.op} {event.resource}", began=now)
            case StepProgress() if step := self._running.get(event.id):
                step.text, step.done, step.total = to_one_line(event.text), event.done, event.total
                step.fraction = event.done / event.total if event.done is not None and event.total else event.fraction
            case StepLine() if step := self._running.get(event.id):
                step.line = to_one_line(event.text.strip())
            case Looked():
                self._summary = event.glance
            case _:
                pass

    def remove_step(self, step: str) -> None:
        """Remove an ended step; its final line is printed above."""
        self._running.pop(step, None)
        self._finished += 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Render the current state, every line cut to the terminal."""
        now = time.monotonic()
        room = max(options.max_width - 1, 1)
        for step in list(self._running.values()):
            yield self._cut(self._format_head(step, now), room)
            if step.line:
                yield self._cut(Text(f"    {step.line}", style="dim"), room)
        if self._summary is not None:
            shown = gray.format_lines(self._summary, unicode=self._unicode)
            yield from (self._cut(Text(line.text, style=line.color), room) for line in shown)
            return
        count = f"  {self._finished} of {self._steps} steps · {plain.format_running_time(now - self._began)}"
        yield self._cut(Text(count, style="dim"), room)

    def _format_head(self, step: _RunningStep, now: float) -> Text:
        head = Text.assemble(
            (_choose_spinner(now - self._began, unicode=self._unicode), "yellow"),
            f" {step.name.ljust(self._width)}",
            (f"  {plain.format_running_time(now - step.began)}", "dim"),
        )
        if step.fraction is not None:
            head.append("  ").append_text(self._draw_bar(step.fraction))
        if step.done:
            head.append(f"  {plain.format_progress(step.done, step.total)}")
        if step.text:
            head.append(f"  {step.text}")
        return head

    def _draw_bar(self, share: float) -> Text:
        full, empty = ("━", "─") if self._unicode else ("#", ".")
        filled = round(min(share, 1.0) * _BAR)
        return Text.assemble((full * filled, "green"), (empty * (_BAR - filled), "dim"))

    def _cut(self, text: Text, room: int) -> Text:
        return _cut(text, room, unicode=self._unicode)


_PHASE = 8  # columns of the longest phase, `services`
_AROUND = 3  # terminal lines not available for cells


class _RunningCell:
    """A running cell."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.phase = ""
        self.line = ""


class CellBoard:
    """Board of running cells. Updated by the display under its lock; drawn by rich's own thread."""

    def __init__(self, *, width: int, unicode: bool) -> None:
        self._width = width
        self._unicode = unicode
        self._cells = 0
        self._began = time.monotonic()
        self._running: dict[str, _RunningCell] = {}
        self._ended: Counter[str] = Counter()

    def update(self, event: MatrixEvent) -> None:
        """Apply an event."""
        match event:
            case MatrixStarted():
                self._cells, self._began = len(event.cells), event.at or self._began
            case CellEvent() if event.phase != "waiting" or event.cell in self._running:
                cell = self._running.setdefault(event.cell, _RunningCell(event.at or time.monotonic()))
                if event.phase != cell.phase:
                    cell.phase, cell.line = event.phase, ""
                cell.line = to_one_line(event.line.strip()) or cell.line
            case CellDone():
                self._running.pop(event.result.cell.name, None)
                self._ended[grid.format_verdict(event.result)] += 1
            case _:
                pass

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Render the current state, lines cut to the terminal; the oldest cells if not all fit."""
        now = time.monotonic()
        room = max(options.max_width - 1, 1)
        running = list(self._running.items())
        most = max(options.size.height - _AROUND, 1)
        for name, cell in running[:most]:
            yield _cut(self._draw_line(name, cell, now, room), room, unicode=self._unicode)
        if len(running) > most:
            yield _cut(Text(f"  … and {len(running) - most} more"), room, unicode=self._unicode)
        yield _cut(Text(f"  {self._format_summary(now)}", style="dim"), room, unicode=self._unicode)

    def _draw_line(self, name: str, cell: _RunningCell, now: float, room: int) -> Text:
        """Render a cell; on a narrow terminal, the name is shortened in favor of phase and time."""
        width = max(min(self._width, room - _PHASE - len("⠋   0.0 s ")), _PHASE)
        shown = Text(to_one_line(name))
        shown.truncate(width, overflow="ellipsis" if self._unicode else "crop", pad=True)
        return Text.assemble(
            (_choose_spinner(now - self._began, unicode=self._unicode), "yellow"),
            " ",
            shown,
            f"  {cell.phase.ljust(_PHASE)}",
            (f"  {plain.format_running_time(max(now - cell.began, 0.0)).rjust(5)}", "dim"),
            (f"  {cell.line}" if cell.line else "", "dim"),
        )

    def _format_summary(self, now: float) -> str:
        ended = sum(self._ended.values())
        parts = [f"{ended} of {self._cells} cells"]
        parts += [f"{count} {word}" for word, count in self._ended.items() if word not in ("passed", "cached")]
        if (waiting := self._cells - ended - len(self._running)) > 0:
            parts.append(f"{waiting} waiting")
        return " · ".join([*parts, plain.format_running_time(max(now - self._began, 0.0))])


def _choose_spinner(seconds: float, *, unicode: bool) -> str:
    """Return the spinner character for the elapsed time."""
    signs = _SPIN if unicode else _SPIN_ASCII
    return signs[int(seconds * _SPINS) % len(signs)]


def _cut(text: Text, room: int, *, unicode: bool) -> Text:
    """Cut a line to the width, with an ellipsis."""
    shown = text if unicode else Text(terminal.to_ascii(text.plain))
    shown.truncate(room, overflow="ellipsis" if unicode else "crop")
    shown.no_wrap = True
    return shown
