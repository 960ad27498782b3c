"""The grid as text: a table if it fits the width, else one line per cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devbox.errors import to_one_line
from devbox.reports import grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.grid import Failed, Grid, GridHead, GridRow

_MOST_LINES = 60  # above this length, a list omits passed cells
_GAP = "  "

if TYPE_CHECKING:
    Paint = Callable[[str, str], str]  # text, color of `cli.terminal`


@dataclass(frozen=True)
class _Piece:
    text: str
    color: str = ""


def paint_plain(text: str, _color: str) -> str:
    """Return the text without colors."""
    return text


def render_report(run: MatrixRun, *, failed: Failed, width: int, paint: Paint = paint_plain) -> list[str]:
    """Return the grid, reasons of cells that did not pass, and the summary."""
    lines = render_table(run.cells, width=width, paint=paint)
    reasons = [_format_reason(result, failed, paint) for result in run.cells if grid.needs_explanation(result)]
    ended = paint(grid.format_summary(run), "green" if run.exit_code == 0 else "red")
    return [*lines, "", *([*reasons, ""] if reasons else []), ended]


def render_table(results: Sequence[CellResult], *, width: int, paint: Paint = paint_plain) -> list[str]:
    """Return the grid."""
    arranged = grid.arrange(results)
    if not arranged.across:
        return _render_list(results, arranged, paint)
    lines = [
        _build_head(arranged),
        *(_build_row(*pair) for pair in zip(grid.build_heads(arranged), arranged.rows, strict=True)),
    ]
    widths = _measure_widths(lines)
    if sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        return _render_list(results, grid.list_results(results), paint)
    title = " " * (sum(widths[: len(arranged.down)]) + len(_GAP) * len(arranged.down)) + arranged.across
    return [paint(title, "dim"), *(_render_line(line, widths, paint) for line in lines)]


def _build_head(arranged: Grid) -> list[_Piece]:
    return [_Piece(to_one_line(word), "dim") for word in (*arranged.down, *arranged.columns)]


def _build_row(heads: tuple[GridHead, ...], row: GridRow) -> list[_Piece]:
    return [
        *(_Piece(to_one_line(head.text) if head.span else "", "bold") for head in heads),
        *map(_build_spot, row.spots),
    ]


def _build_spot(result: CellResult | None) -> _Piece:
    if result is None:
        return _Piece("")
    return _Piece(f"{grid.choose_mark(result)} {grid.format_brief(result)}", grid.choose_color(result))


def _render_list(results: Sequence[CellResult], arranged: Grid, paint: Paint) -> list[str]:
    """Return one line per cell: values, verdict, time. In long lists, passed cells are only counted."""
    rows = [(row.values, spot) for row in arranged.rows for spot in row.spots if spot is not None]
    if len(rows) > _MOST_LINES:
        rows = [(values, spot) for values, spot in rows if spot.state not in ("passed", "cached")]
    lines = [[_Piece(to_one_line(axis), "dim") for axis in arranged.down] + [_Piece("result", "dim")]]
    lines += [
        [*(_Piece(to_one_line(value), "bold") for value in values), _build_spot(spot), *_build_duration(spot)]
        for values, spot in rows
    ]
    if len(rows) < len(results):
        lines.append([_Piece(f"{len(results) - len(rows)} more passed", "dim")])
    return [_render_line(line, _measure_widths(lines), paint) for line in lines]


def _build_duration(result: CellResult) -> list[_Piece]:
    """Return the time, unless the spot already shows it."""
    return [] if result.state == "passed" or not grid.format_time(result) else [_Piece(grid.format_time(result), "dim")]


def _measure_widths(lines: Sequence[Sequence[_Piece]]) -> list[int]:
    most = max(map(len, lines))
    return [max((len(line[at].text) for line in lines if at < len(line) > 1), default=0) for at in range(most)]


def _render_line(line: Sequence[_Piece], widths: Sequence[int], paint: Paint) -> str:
    last = max((at for at, piece in enumerate(line) if piece.text), default=0)
    parts = []
    for at, (piece, wide) in enumerate(zip(line, widths, strict=False)):
        padded = piece.text if at == last else piece.text.ljust(wide)
        parts.append(paint(padded, piece.color) if piece.color and piece.text else padded)
        if at == last:
            break
    return _GAP.join(parts)


def _format_reason(result: CellResult, failed: Failed, paint: Paint) -> str:
    sign = paint(grid.choose_mark(result), grid.choose_color(result))
    return f"{sign} {to_one_line(result.cell.name)}: {to_one_line(grid.explain_result(result, failed(result)))}"
