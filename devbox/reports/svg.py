"""The grid as an SVG picture: real text, no external fonts, light and dark mode."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from devbox.reports import grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.grid import Grid, GridHead, GridRow

_PAD, _GAP, _HIGH, _TITLE = 16, 3, 26, 30
_LETTER, _BROAD, _NARROW = 8.6, 13.5, 5.4  # widths of a wide, bold sans-serif font
_MOST_ROWS = 24  # a longer list is split into columns
_STYLE = """
  svg { color-scheme: light dark; font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
  .paper { fill: #fff; } .ink { fill: #1c2430; } .soft { fill: #5a6675; } .tint { fill: #f4f6f9; }
  .strong { font-weight: 600; }
  .green { fill: #116b2c; } .red { fill: #a81620; } .yellow { fill: #7a4d00; } .dim { fill: #5a6675; }
  .on-green { fill: #e3f5e8; } .on-red { fill: #fde8e8; } .on-yellow { fill: #fdf1d3; } .on-dim { fill: #eef1f5; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #11161d; } .ink { fill: #dde4ee; } .soft { fill: #9aa7b8; } .tint { fill: #19212b; }
    .green { fill: #7ddb95; } .red { fill: #ff9a94; } .yellow { fill: #f2c968; } .dim { fill: #9aa7b8; }
    .on-green { fill: #12301c; } .on-red { fill: #3d1618; } .on-yellow { fill: #362a0c; } .on-dim { fill: #1d2631; }
  }
"""


class _Drawing:
    """SVG elements and their extent."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.width = self.height = 0.0

    def draw_box(self, x: float, y: float, width: float, style: str, *, rows: int = 1) -> None:
        high = rows * _HIGH - _GAP
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{high}" rx="4" class="{style}"/>')
        self._extend(x + width, y + high + _GAP)

    def draw_text(self, x: float, y: float, text: str, style: str) -> None:
        self.parts.append(f'<text x="{x:g}" y="{y + 16:g}" class="{style}">{_escape(text)}</text>')
        self._extend(x + _measure_length(text), y + _HIGH)

    def _extend(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


def render_svg(run: MatrixRun) -> str:
    """Return the document."""
    arranged = grid.arrange(run.cells)
    drawing = _Drawing()
    drawing.draw_text(_PAD, _PAD - 8, run.project, "ink strong")
    drawing.draw_text(_PAD, _PAD + _HIGH - 14, grid.format_summary(run), "soft")
    _draw(drawing, arranged, top=_PAD + _HIGH + _TITLE - 14)
    width, height = drawing.width + _PAD, drawing.height + _PAD
    title = _escape(f"{run.project}: {grid.format_summary(run)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-labelledby="title">\n<title id="title">{title}</title>\n'
        f"<style>{_STYLE}</style>\n"
        '<rect width="100%" height="100%" rx="8" class="paper"/>\n' + "\n".join(drawing.parts) + "\n</svg>\n"
    )


def _draw(drawing: _Drawing, arranged: Grid, *, top: float) -> None:
    """Draw the table; a long list in several columns side by side."""
    heads = [
        _measure_breadth([axis, *(row.values[at] for row in arranged.rows)]) for at, axis in enumerate(arranged.down)
    ]
    columns = [
        _measure_breadth([name, *(_format_spot(row.spots[at]) for row in arranged.rows)])
        for at, name in enumerate(arranged.columns)
    ]
    height = max(_MOST_ROWS, len(arranged.rows) ** 0.5) if not arranged.across else len(arranged.rows)
    left: float = _PAD
    rows = list(zip(grid.build_heads(arranged), arranged.rows, strict=True))
    for first in range(0, len(rows), int(height)):
        y = top
        if arranged.across:
            drawing.draw_text(left + sum(heads) + 10, y, arranged.across, "soft")
            y += _HIGH - 6
        _draw_line(drawing, left, y, heads, arranged.down, "soft")
        _draw_line(drawing, left + sum(heads), y, columns, arranged.columns, "ink strong")
        for row_heads, row in rows[first : first + int(height)]:
            y += _HIGH
            _draw_heads(drawing, left, y, heads, row_heads)
            _draw_spots(drawing, left + sum(heads), y, columns, row)
        left += sum(heads) + sum(columns) + 2 * _PAD


def _draw_line(
    drawing: _Drawing, x: float, y: float, breadths: Sequence[float], texts: Sequence[str], style: str
) -> None:
    for breadth, text in zip(breadths, texts, strict=True):
        if text:
            drawing.draw_text(x + 10, y, text, style)
        x += breadth


def _draw_heads(drawing: _Drawing, x: float, y: float, breadths: Sequence[float], heads: Sequence[GridHead]) -> None:
    for breadth, head in zip(breadths, heads, strict=True):
        if head.span:
            drawing.draw_box(x, y, breadth - _GAP, "tint", rows=head.span)
            drawing.draw_text(x + 10, y, head.text, "ink strong")
        x += breadth


def _draw_spots(drawing: _Drawing, x: float, y: float, breadths: Sequence[float], row: GridRow) -> None:
    for breadth, spot in zip(breadths, row.spots, strict=True):
        if spot is not None:
            color = grid.choose_color(spot)
            drawing.parts.append(f"<g><title>{_escape(_format_title(spot))}</title>")
            drawing.draw_box(x, y, breadth - _GAP, f"on-{color}")
            drawing.draw_text(x + 10, y, _format_spot(spot), f"{color} strong")
            drawing.parts.append("</g>")
        x += breadth


def _measure_breadth(texts: Sequence[str]) -> float:
    return max(map(_measure_length, texts), default=0) + 20 + _GAP


def _measure_length(text: str) -> float:
    """Estimate the width of a text without font metrics."""
    return sum(_BROAD if char in "mwMW@%" else _NARROW if char in "ijlt.,:;|'! " else _LETTER for char in text)


def _format_spot(result: CellResult | None) -> str:
    return "" if result is None else f"{grid.choose_mark(result)} {grid.format_brief(result)}"


def _format_title(result: CellResult) -> str:
    """Return the tooltip of a cell."""
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.cell.name}: {grid.format_verdict(result)}{reason}"


def _escape(text: str) -> str:
    """Escape text for XML, without characters that XML cannot contain."""
    from devbox.reports.junit import make_printable

    return escape(make_printable(text), quote=False)
