"""Cells of a matrix as a grid: the last axis in columns, all others in rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from devbox.model import duration
from devbox.model.matrix import STATES, CellResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from devbox.model.matrix import MatrixRun

    Failed = Callable[[CellResult], Sequence[str]]  # names of a cell's failed tests

ABSENT = "–"  # a cell without a value for an axis


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """Values of the row axes, and one result per column, or None without a cell."""

    values: tuple[str, ...]
    spots: tuple[CellResult | None, ...]


@dataclass(frozen=True)
class GridHead:
    """A row header that spans several rows; 0 if a header above spans this row."""

    text: str
    span: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`down` and `across` are axis names. With one axis or none, `across` is empty, and each row has one spot."""

    down: tuple[str, ...]
    across: str
    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]


def arrange(results: Sequence[CellResult]) -> Grid:
    """Place every result in exactly one spot."""
    axes = _find_axes(results)
    places = [tuple(result.cell.axes.get(axis, ABSENT) for axis in axes) for result in results]
    if len(axes) < 2 or len(set(places)) < len(places):  # noqa: PLR2004 - two axes make a grid
        return _build_list(axes, places, results)
    values = [_sort_values(column) for column in zip(*places, strict=True)]
    found = dict(zip(places, results, strict=True))
    leads = sorted({place[:-1] for place in places}, key=lambda lead: _rank(lead, values))
    rows = tuple(
        GridRow(values=lead, spots=tuple(found.get((*lead, column)) for column in values[-1])) for lead in leads
    )
    return Grid(down=axes[:-1], across=axes[-1], columns=values[-1], rows=rows)


def list_results(results: Sequence[CellResult]) -> Grid:
    """Return one row per result, for displays too narrow for columns."""
    axes = _find_axes(results)
    places = [tuple(result.cell.axes.get(axis, ABSENT) for axis in axes) for result in results]
    return _build_list(axes, places, results)


def build_heads(arranged: Grid) -> list[tuple[GridHead, ...]]:
    """Return the headers of each row; shared ones are in the first of their rows."""
    rows = [row.values for row in arranged.rows]
    return [
        tuple(GridHead(value, _measure_span(rows, at, depth)) for depth, value in enumerate(row))
        for at, row in enumerate(rows)
    ]


def _measure_span(rows: Sequence[tuple[str, ...]], at: int, depth: int) -> int:
    lead = rows[at][: depth + 1]
    if depth == len(rows[at]) - 1:  # the innermost axis identifies a row
        return 1
    if at and rows[at - 1][: depth + 1] == lead:
        return 0
    return next((down for down, row in enumerate(rows[at:]) if row[: depth + 1] != lead), len(rows) - at)


def _build_list(axes: tuple[str, ...], places: Sequence[tuple[str, ...]], results: Sequence[CellResult]) -> Grid:
    if not axes:  # without a matrix
        axes, places = ("cell",), [(result.cell.name,) for result in results]
    values = [_sort_values(column) for column in zip(*places, strict=True)]
    pairs = sorted(zip(places, results, strict=True), key=lambda pair: _rank(pair[0], values))
    rows = tuple(GridRow(values=place, spots=(result,)) for place, result in pairs)
    return Grid(down=axes, across="", columns=("",), rows=rows)


def _find_axes(results: Iterable[CellResult]) -> tuple[str, ...]:
    """Return all axes, in order of first use."""
    return tuple(dict.fromkeys(axis for result in results for axis in result.cell.axes))


def _sort_values(values: Iterable[str]) -> tuple[str, ...]:
    """Return unique values in file order; versions added by `include` are sorted in."""
    found = tuple(dict.fromkeys(values))
    numbers = {value: _parse_version(value) for value in found if value != ABSENT}
    if not all(numbers.values()):
        return found
    first, second = (*numbers.values(), (), ())[:2]
    down = bool(second) and second < first
    return (
        *sorted(numbers, key=lambda value: numbers[value], reverse=down),
        *(each for each in found if each == ABSENT),
    )


def _parse_version(value: str) -> tuple[int, ...]:
    """Parse `3.10` into numbers; () if the value is not a version."""
    parts = value.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()


def _rank(lead: tuple[str, ...], values: Sequence[tuple[str, ...]]) -> tuple[int, ...]:
    return tuple(known.index(value) for value, known in zip(lead, values, strict=False))


MARKS = {
    "passed": "✓",
    "failed": "✗",
    "flaky": "~",
    "error": "!",
    "timeout": "✗",
    "skipped": "·",
    "cached": "✓",
    "interrupted": "!",
}
COLORS = {
    "passed": "green",
    "failed": "red",
    "flaky": "yellow",
    "error": "red",
    "timeout": "red",
    "skipped": "dim",
    "cached": "green",
    "interrupted": "yellow",
}
RED = ("failed", "timeout", "error")  # states that count as failed
_NAMED = 3  # failed tests
_NEVER_RAN = ("cached", "skipped")


def choose_mark(result: CellResult) -> str:
    """Return the mark of a result."""
    return MARKS[result.state]


def choose_color(result: CellResult) -> str:
    """Return the color of the mark, as named in `cli.terminal`."""
    return "yellow" if is_allowed(result) else COLORS[result.state]


def format_verdict(result: CellResult) -> str:
    """Format the verdict: `passed`, `failed, allowed`."""
    return f"{result.state}, allowed" if is_allowed(result) else result.state


def format_brief(result: CellResult) -> str:
    """Format a spot of a grid: the time if passed, else the verdict."""
    if result.state == "passed":
        return format_time(result)
    return format_verdict(result)


def format_time(result: CellResult) -> str:
    """Format the time; "" for a cell that did not run."""
    return "" if result.state in _NEVER_RAN else duration.format_elapsed(result.seconds)


def is_allowed(result: CellResult) -> bool:
    """True if the run tolerates the failure."""
    return result.state in RED and result.cell.allow_failure


def is_bad(result: CellResult) -> bool:
    """True if the result fails the run."""
    return result.state in (*RED, "interrupted") and not is_allowed(result)


def needs_explanation(result: CellResult) -> bool:
    """True if a report has to explain the result: a failure, or a success after retries."""
    return result.state in (*RED, "flaky")


def explain_result(result: CellResult, failed: Sequence[str]) -> str:
    """Explain a result: `exit code 1: test_refund, test_order and 3 more`."""
    reason = result.reason or format_verdict(result)
    if not failed:
        return reason
    more = len(failed) - _NAMED
    return f"{reason}: {', '.join(failed[:_NAMED])}{f' and {more} more' if more > 0 else ''}"


def count_verdicts(run: MatrixRun) -> dict[str, int]:
    """Count the cells by verdict, worst last."""
    found = Counter(map(format_verdict, run.cells))
    order = sorted(found, key=lambda word: (STATES.index(word.partition(",")[0]), word))
    return {word: found[word] for word in order}


def format_summary(run: MatrixRun) -> str:
    """Format `12 cells: 9 passed, 2 failed, 1 cached in 41.2 s`."""
    total = f"{len(run.cells)} cell{'' if len(run.cells) == 1 else 's'}"
    parts = ", ".join(f"{count} {word.replace(',', ' but')}" for word, count in count_verdicts(run).items())
    return f"{total}: {parts or 'nothing to run'} in {duration.format_elapsed(run.seconds)}"
