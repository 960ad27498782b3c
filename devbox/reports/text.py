"""The grid as text: a table as wide as there is room for, else a line a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devbox.errors import one_line
from devbox.reports import grid, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.grid import Grid, Head, Row
    from devbox.reports.words import Failed

_MOST_LINES = 60  # a list longer than that shows what is not green alone
_GAP = "  "

if TYPE_CHECKING:
    Paint = Callable[[str, str], str]  # text, colour of `cli.terminal`


@dataclass(frozen=True)
class _Piece:
    text: str
    color: str = ""


def plain(text: str, _color: str) -> str:
    """No colours."""
    return text


def report(run: MatrixRun, *, failed: Failed, width: int, paint: Paint = plain) -> list[str]:
    """The grid, why cells are not green, and the sentence about all."""
    lines = table(run.cells, width=width, paint=paint)
    reasons = [_reason(result, failed, paint) for result in run.cells if words.wants_a_word(result)]
    ended = paint(words.summary(run), "green" if run.exit_code == 0 else "red")
    return [*lines, "", *([*reasons, ""] if reasons else []), ended]


def table(results: Sequence[CellResult], *, width: int, paint: Paint = plain) -> list[str]:
    """The grid alone."""
    arranged = grid.arrange(results)
    if not arranged.across:
        return _list(results, arranged, paint)
    lines = [_head(arranged), *(_row(*pair) for pair in zip(grid.heads(arranged), arranged.rows, strict=True))]
    widths = _widths(lines)
    if sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        return _list(results, grid.listed(results), paint)
    title = " " * (sum(widths[: len(arranged.down)]) + len(_GAP) * len(arranged.down)) + arranged.across
    return [paint(title, "dim"), *(_line(line, widths, paint) for line in lines)]


def _head(arranged: Grid) -> list[_Piece]:
    return [_Piece(one_line(word), "dim") for word in (*arranged.down, *arranged.columns)]


def _row(heads: tuple[Head, ...], row: Row) -> list[_Piece]:
    return [*(_Piece(one_line(head.text) if head.span else "", "bold") for head in heads), *map(_spot, row.spots)]


def _spot(result: CellResult | None) -> _Piece:
    if result is None:
        return _Piece("")
    return _Piece(f"{words.mark(result)} {words.brief(result)}", words.color(result))


def _list(results: Sequence[CellResult], arranged: Grid, paint: Paint) -> list[str]:
    """A line a cell: its values, what came of it, its time. Of very many, what passed is only counted."""
    rows = [(row.values, spot) for row in arranged.rows for spot in row.spots if spot is not None]
    if len(rows) > _MOST_LINES:
        rows = [(values, spot) for values, spot in rows if spot.state not in ("passed", "cached")]
    lines = [[_Piece(one_line(axis), "dim") for axis in arranged.down] + [_Piece("result", "dim")]]
    lines += [
        [*(_Piece(one_line(value), "bold") for value in values), _spot(spot), *_took(spot)] for values, spot in rows
    ]
    if len(rows) < len(results):
        lines.append([_Piece(f"{len(results) - len(rows)} more passed", "dim")])
    return [_line(line, _widths(lines), paint) for line in lines]


def _took(result: CellResult) -> list[_Piece]:
    """The time where the spot does not say it already."""
    return [] if result.state == "passed" or not words.time(result) else [_Piece(words.time(result), "dim")]


def _widths(lines: Sequence[Sequence[_Piece]]) -> list[int]:
    most = max(map(len, lines))
    return [max((len(line[at].text) for line in lines if at < len(line) > 1), default=0) for at in range(most)]


def _line(line: Sequence[_Piece], widths: Sequence[int], paint: Paint) -> str:
    last = max((at for at, piece in enumerate(line) if piece.text), default=0)
    parts = []
    for at, (piece, wide) in enumerate(zip(line, widths, strict=False)):
        padded = piece.text if at == last else piece.text.ljust(wide)
        parts.append(paint(padded, piece.color) if piece.color and piece.text else padded)
        if at == last:
            break
    return _GAP.join(parts)


def _reason(result: CellResult, failed: Failed, paint: Paint) -> str:
    sign = paint(words.mark(result), words.color(result))
    return f"{sign} {one_line(result.cell.name)}: {one_line(words.why(result, failed(result)))}"
