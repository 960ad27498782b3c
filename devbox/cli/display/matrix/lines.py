"""How cells read on a terminal or in a log. Pure: the live and the plain display print the same lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devbox.cli.display.lines import cut
from devbox.errors import one_line
from devbox.reports import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.model.matrix import Cell, CellResult, MatrixRun

_LONGEST_NAME = 40
_VERDICT = len("timeout")
_SHORTEST_REASON = 12
_CLEAR = ("passed", "interrupted")  # of these, the reason says nothing about how they ended
_MOST_TAILS = 10


def name_width(cells: Iterable[Cell]) -> int:
    """Columns that the names of cells get, so that results line up."""
    return min(max((len(one_line(cell.name)) for cell in cells), default=0), _LONGEST_NAME)


def ended(result: CellResult, *, width: int, room: int | None = None) -> str:
    """What follows the mark: `python=3.11,pg=15  failed  3.20 s — exit code 1`; within `room` columns."""
    parts = (one_line(result.cell.name).ljust(width), words.verdict(result).ljust(_VERDICT), words.time(result))
    shown = "  ".join(parts).rstrip()
    reason = one_line(result.reason) if result.state not in _CLEAR else ""
    if room is None:
        return f"{shown} — {reason}" if reason else shown
    left = room - len(shown) - len(" — ")
    if not reason or left < _SHORTEST_REASON:
        return cut(shown, room)
    return f"{shown} — {cut(reason, left)}"


def started(cells: int, jobs: int) -> str:
    """`20 cells, 2 at a time`; where none of them runs, only how many there are."""
    if cells == 1 or not jobs:
        return f"{cells} cell{'' if cells == 1 else 's'}"
    return f"{cells} cells, {'one' if jobs == 1 else jobs} at a time"


def with_tails(run: MatrixRun) -> tuple[list[CellResult], str]:
    """The cells whose last lines are shown at the end, and a sentence about those that are too many."""
    bad = [result for result in run.cells if words.is_bad(result)]
    over = len(bad) - _MOST_TAILS
    return bad[:_MOST_TAILS], f"{over} more did not pass; their logs: {run.directory}" if over > 0 else ""
