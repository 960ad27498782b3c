"""The cells of a matrix as rows and columns: the last axis across, all others down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devbox.model.matrix import CellResult

ABSENT = "–"  # a cell that says nothing about an axis


@dataclass(frozen=True, kw_only=True)
class Row:
    """The values of the axes that go down, and a result, or None where there is no such cell, in each column."""

    values: tuple[str, ...]
    spots: tuple[CellResult | None, ...]


@dataclass(frozen=True)
class Head:
    """A value at the beginning of a row, for so many rows from this one on; 0 where one above speaks for this row."""

    text: str
    span: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`down` and `across` are names of axes. With one axis or none nothing goes across: a row has one spot."""

    down: tuple[str, ...]
    across: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def arrange(results: Sequence[CellResult]) -> Grid:
    """Every result in exactly one spot."""
    axes = _axes(results)
    places = [tuple(result.cell.axes.get(axis, ABSENT) for axis in axes) for result in results]
    if len(axes) < 2 or len(set(places)) < len(places):  # noqa: PLR2004 - two axes make a grid
        return _listed(axes, places, results)
    values = [_ordered(column) for column in zip(*places, strict=True)]
    found = dict(zip(places, results, strict=True))
    leads = sorted({place[:-1] for place in places}, key=lambda lead: _rank(lead, values))
    rows = tuple(Row(values=lead, spots=tuple(found.get((*lead, column)) for column in values[-1])) for lead in leads)
    return Grid(down=axes[:-1], across=axes[-1], columns=values[-1], rows=rows)


def listed(results: Sequence[CellResult]) -> Grid:
    """A row for each result, whatever the axes: for displays too narrow for columns."""
    axes = _axes(results)
    places = [tuple(result.cell.axes.get(axis, ABSENT) for axis in axes) for result in results]
    return _listed(axes, places, results)


def heads(arranged: Grid) -> list[tuple[Head, ...]]:
    """The heads of each row, those that several rows share in the first of them."""
    rows = [row.values for row in arranged.rows]
    return [
        tuple(Head(value, _span(rows, at, depth)) for depth, value in enumerate(row)) for at, row in enumerate(rows)
    ]


def _span(rows: Sequence[tuple[str, ...]], at: int, depth: int) -> int:
    lead = rows[at][: depth + 1]
    if depth == len(rows[at]) - 1:  # the innermost axis says what a row is
        return 1
    if at and rows[at - 1][: depth + 1] == lead:
        return 0
    return next((down for down, row in enumerate(rows[at:]) if row[: depth + 1] != lead), len(rows) - at)


def _listed(axes: tuple[str, ...], places: Sequence[tuple[str, ...]], results: Sequence[CellResult]) -> Grid:
    if not axes:  # no matrix at all
        axes, places = ("cell",), [(result.cell.name,) for result in results]
    values = [_ordered(column) for column in zip(*places, strict=True)]
    pairs = sorted(zip(places, results, strict=True), key=lambda pair: _rank(pair[0], values))
    rows = tuple(Row(values=place, spots=(result,)) for place, result in pairs)
    return Grid(down=axes, across="", columns=("",), rows=rows)


def _axes(results: Iterable[CellResult]) -> tuple[str, ...]:
    """All axes, in the order in which cells name them."""
    return tuple(dict.fromkeys(axis for result in results for axis in result.cell.axes))


def _ordered(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once, as the file has them; versions that an `include` adds come where they belong."""
    found = tuple(dict.fromkeys(values))
    numbers = {value: _version(value) for value in found if value != ABSENT}
    if not all(numbers.values()):
        return found
    first, second = (*numbers.values(), (), ())[:2]
    down = bool(second) and second < first
    return (
        *sorted(numbers, key=lambda value: numbers[value], reverse=down),
        *(each for each in found if each == ABSENT),
    )


def _version(value: str) -> tuple[int, ...]:
    """`3.10` as numbers; empty for what is no version."""
    parts = value.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()


def _rank(lead: tuple[str, ...], values: Sequence[tuple[str, ...]]) -> tuple[int, ...]:
    return tuple(known.index(value) for value, known in zip(lead, values, strict=False))
