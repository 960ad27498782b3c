"""Non-live displays of a matrix: one block per cell when it ends, with all of its output. For logs and pipes."""

from __future__ import annotations

import json
import sys
import threading

from devbox.cli import terminal
from devbox.cli.display.plain import JsonDisplay, PlainDisplay, cut
from devbox.errors import to_one_line
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports import files, grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from devbox.execute.events import Event
    from devbox.model.matrix import Cell, CellResult, MatrixEvent, MatrixRun

_LONGEST_NAME = 40
_VERDICT = len("timeout")
_SHORTEST_REASON = 12
_CLEAR = ("passed", "interrupted")  # the reason does not describe how these ended
_MOST_TAILS = 10


def compute_name_width(cells: Iterable[Cell]) -> int:
    """Return the width of the cell names, for aligned results."""
    return min(max((len(to_one_line(cell.name)) for cell in cells), default=0), _LONGEST_NAME)


def format_ended(result: CellResult, *, width: int, room: int | None = None) -> str:
    """Format a result after its mark: `python=3.11,pg=15  failed  3.20 s — exit code 1`; within `room` columns."""
    parts = (
        to_one_line(result.cell.name).ljust(width),
        grid.format_verdict(result).ljust(_VERDICT),
        grid.format_time(result),
    )
    shown = "  ".join(parts).rstrip()
    reason = to_one_line(result.reason) if result.state not in _CLEAR else ""
    if room is None:
        return f"{shown} — {reason}" if reason else shown
    left = room - len(shown) - len(" — ")
    if not reason or left < _SHORTEST_REASON:
        return cut(shown, room)
    return f"{shown} — {cut(reason, left)}"


def format_started(cells: int, jobs: int) -> str:
    """Format `20 cells, 2 at a time`; only the number of cells if none of them runs."""
    if cells == 1 or not jobs:
        return f"{cells} cell{'' if cells == 1 else 's'}"
    return f"{cells} cells, {'one' if jobs == 1 else jobs} at a time"


def select_tails(run: MatrixRun) -> tuple[list[CellResult], str]:
    """Return the cells whose last lines are shown at the end, and a sentence about omitted ones."""
    bad = [result for result in run.cells if grid.is_bad(result)]
    over = len(bad) - _MOST_TAILS
    return bad[:_MOST_TAILS], f"{over} more did not pass; logs: {run.directory}" if over > 0 else ""


class PlainMatrix:
    """Plain display of steps, then of cells. Thread-safe."""

    def __init__(self) -> None:
        self._steps = PlainDisplay()
        self._lock = threading.Lock()
        self._width = 0
        self._color = terminal.has_color(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release nothing."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Print ended cells."""
        match event:
            case MatrixStarted():
                self._width = compute_name_width(event.cells)
                self._print_line("·", "dim", format_started(len(event.cells), event.jobs))
            case CellEvent():
                pass
            case CellDone():
                with self._lock:
                    self._print_block(event.result)
            case _:
                with self._lock:
                    self._steps(event)

    def _print_block(self, result: CellResult) -> None:
        written = False
        if result.state != "cached":
            for line in files.read_lines(result):
                if not written:
                    terminal.print_line(
                        terminal.paint(f"── {to_one_line(result.cell.name)} ──", "bold", when=self._color)
                    )
                    written = True
                terminal.print_line(line)
        self._print_line(grid.choose_mark(result), grid.choose_color(result), format_ended(result, width=self._width))

    def _print_line(self, mark: str, color: str, text: str) -> None:
        terminal.print_line(f"{terminal.paint(mark, color, when=self._color)} {text}")


class JsonMatrix:
    """JSON display of steps, and of the events `matrix`, `cell` and `cell_ended`."""

    def __init__(self) -> None:
        self._steps = JsonDisplay()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release nothing."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Write the event."""
        match event:
            case MatrixStarted():
                cells = [{"name": cell.name, "axes": cell.axes} for cell in event.cells]
                self._write({"event": "matrix", "cells": cells, "jobs": event.jobs})
            case CellEvent():
                line = {"line": event.line} if event.line else {}
                self._write({"event": "cell", "name": event.cell, "phase": event.phase, **line})
            case CellDone():
                ended = files.render_cell(event.result, junit=lambda result: next(iter(result.reports), None))
                self._write({"event": "cell_ended", **ended})
            case _:
                self._steps(event)

    def _write(self, event: dict[str, object]) -> None:
        with self._lock:
            sys.stderr.write(f"{json.dumps(event)}\n")
            sys.stderr.flush()


class QuietMatrix:
    """Display without output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release nothing."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Ignore the event."""
