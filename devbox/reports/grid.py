"""The cells of a matrix as rows and columns: the last axis across, all others down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from devbox.model import duration
from devbox.model.matrix import STATES, CellResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from devbox.model.matrix import CellResult, MatrixRun

    Failed = Callable[[CellResult], Sequence[str]]  # the names of the tests of a cell that did not pass

ABSENT = "–"  # a cell that says nothing about an axis


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """The values of the axes that go down, and a result, or None where there is no such cell, in each column."""

    values: tuple[str, ...]
    spots: tuple[CellResult | None, ...]


@dataclass(frozen=True)
class GridHead:
    """A value at the beginning of a row, for so many rows from this one on; 0 where one above speaks for this row."""

    text: str
    span: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`down` and `across` are names of axes. With one axis or none nothing goes across: a row has one spot."""

    down: tuple[str, ...]
    across: str
    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]


def arrange(results: Sequence[CellResult]) -> Grid:
    """Every result in exactly one spot."""
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
    """A row for each result, whatever the axes: for displays too narrow for columns."""
    axes = _find_axes(results)
    places = [tuple(result.cell.axes.get(axis, ABSENT) for axis in axes) for result in results]
    return _build_list(axes, places, results)


def build_heads(arranged: Grid) -> list[tuple[GridHead, ...]]:
    """The heads of each row, those that several rows share in the first of them."""
    rows = [row.values for row in arranged.rows]
    return [
        tuple(GridHead(value, _measure_span(rows, at, depth)) for depth, value in enumerate(row))
        for at, row in enumerate(rows)
    ]


def _measure_span(rows: Sequence[tuple[str, ...]], at: int, depth: int) -> int:
    lead = rows[at][: depth + 1]
    if depth == len(rows[at]) - 1:  # the innermost axis says what a row is
        return 1
    if at and rows[at - 1][: depth + 1] == lead:
        return 0
    return next((down for down, row in enumerate(rows[at:]) if row[: depth + 1] != lead), len(rows) - at)


def _build_list(axes: tuple[str, ...], places: Sequence[tuple[str, ...]], results: Sequence[CellResult]) -> Grid:
    if not axes:  # no matrix at all
        axes, places = ("cell",), [(result.cell.name,) for result in results]
    values = [_sort_values(column) for column in zip(*places, strict=True)]
    pairs = sorted(zip(places, results, strict=True), key=lambda pair: _rank(pair[0], values))
    rows = tuple(GridRow(values=place, spots=(result,)) for place, result in pairs)
    return Grid(down=axes, across="", columns=("",), rows=rows)


def _find_axes(results: Iterable[CellResult]) -> tuple[str, ...]:
    """All axes, in the order in which cells name them."""
    return tuple(dict.fromkeys(axis for result in results for axis in result.cell.axes))


def _sort_values(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once, as the file has them; versions that an `include` adds come where they belong."""
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
    """`3.10` as numbers; empty for what is no version."""
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
RED = ("failed", "timeout", "error")  # states that say the tests, or devbox, did not manage
_NAMED = 3  # failed tests
_NEVER_RAN = ("cached", "skipped")


def choose_mark(result: CellResult) -> str:
    """One sign."""
    return MARKS[result.state]


def choose_color(result: CellResult) -> str:
    """The colour of its sign, as `cli.terminal` names them."""
    return "yellow" if is_allowed(result) else COLORS[result.state]


def format_verdict(result: CellResult) -> str:
    """What came of it: `passed`, `failed, allowed`."""
    return f"{result.state}, allowed" if is_allowed(result) else result.state


def format_brief(result: CellResult) -> str:
    """What a spot of a grid says: the time of what passed, the word for all else."""
    if result.state == "passed":
        return format_time(result)
    return format_verdict(result)


def format_time(result: CellResult) -> str:
    """How long it took; nothing for what did not run."""
    return "" if result.state in _NEVER_RAN else duration.format_elapsed(result.seconds)


def is_allowed(result: CellResult) -> bool:
    """Whether it did not pass and the run succeeds all the same."""
    return result.state in RED and result.cell.allow_failure


def is_bad(result: CellResult) -> bool:
    """Whether the run fails for it."""
    return result.state in (*RED, "interrupted") and not is_allowed(result)


def needs_explanation(result: CellResult) -> bool:
    """Whether a report says why it ended so: it did not pass, or not at once."""
    return result.state in (*RED, "flaky")


def explain_result(result: CellResult, failed: Sequence[str]) -> str:
    """`exit code 1: test_refund, test_order and 3 more`."""
    reason = result.reason or format_verdict(result)
    if not failed:
        return reason
    more = len(failed) - _NAMED
    return f"{reason}: {', '.join(failed[:_NAMED])}{f' and {more} more' if more > 0 else ''}"


def count_verdicts(run: MatrixRun) -> dict[str, int]:
    """How many cells came to what, by the word of `verdict`, the worst last to be read."""
    found = Counter(map(format_verdict, run.cells))
    order = sorted(found, key=lambda word: (STATES.index(word.partition(",")[0]), word))
    return {word: found[word] for word in order}


def format_summary(run: MatrixRun) -> str:
    """`12 cells: 9 passed, 2 failed, 1 cached in 41.2 s`."""
    total = f"{len(run.cells)} cell{'' if len(run.cells) == 1 else 's'}"
    parts = ", ".join(f"{count} {word.replace(',', ' but')}" for word, count in count_verdicts(run).items())
    return f"{total}: {parts or 'nothing to run'} in {duration.format_elapsed(run.seconds)}"
