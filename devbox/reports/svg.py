"""The grid as a picture: text stays text, no font is fetched, light and dark as the reader has it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from devbox.reports import grid, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.grid import Grid, Head, Row

_PAD, _GAP, _HIGH, _TITLE = 16, 3, 26, 30
_LETTER, _BROAD, _NARROW = 8.6, 13.5, 5.4  # of the broadest usual sans-serif, in bold
_MOST_ROWS = 24  # a list longer than that stands in several columns
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
    """Elements, and how far they reach."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.width = self.height = 0.0

    def box(self, x: float, y: float, width: float, style: str, *, rows: int = 1) -> None:
        high = rows * _HIGH - _GAP
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{high}" rx="4" class="{style}"/>')
        self._reach(x + width, y + high + _GAP)

    def text(self, x: float, y: float, text: str, style: str) -> None:
        self.parts.append(f'<text x="{x:g}" y="{y + 16:g}" class="{style}">{_safe(text)}</text>')
        self._reach(x + _length(text), y + _HIGH)

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


def picture(run: MatrixRun) -> str:
    """The document."""
    arranged = grid.arrange(run.cells)
    drawing = _Drawing()
    drawing.text(_PAD, _PAD - 8, run.project, "ink strong")
    drawing.text(_PAD, _PAD + _HIGH - 14, words.summary(run), "soft")
    _draw(drawing, arranged, top=_PAD + _HIGH + _TITLE - 14)
    width, height = drawing.width + _PAD, drawing.height + _PAD
    title = _safe(f"{run.project}: {words.summary(run)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-labelledby="title">\n<title id="title">{title}</title>\n'
        f"<style>{_STYLE}</style>\n"
        '<rect width="100%" height="100%" rx="8" class="paper"/>\n' + "\n".join(drawing.parts) + "\n</svg>\n"
    )


def _draw(drawing: _Drawing, arranged: Grid, *, top: float) -> None:
    """The table; a long list in several columns beside each other."""
    heads = [_breadth([axis, *(row.values[at] for row in arranged.rows)]) for at, axis in enumerate(arranged.down)]
    columns = [
        _breadth([name, *(_said(row.spots[at]) for row in arranged.rows)]) for at, name in enumerate(arranged.columns)
    ]
    height = max(_MOST_ROWS, len(arranged.rows) ** 0.5) if not arranged.across else len(arranged.rows)
    left: float = _PAD
    rows = list(zip(grid.heads(arranged), arranged.rows, strict=True))
    for first in range(0, len(rows), int(height)):
        y = top
        if arranged.across:
            drawing.text(left + sum(heads) + 10, y, arranged.across, "soft")
            y += _HIGH - 6
        _line(drawing, left, y, heads, arranged.down, "soft")
        _line(drawing, left + sum(heads), y, columns, arranged.columns, "ink strong")
        for row_heads, row in rows[first : first + int(height)]:
            y += _HIGH
            _heads(drawing, left, y, heads, row_heads)
            _spots(drawing, left + sum(heads), y, columns, row)
        left += sum(heads) + sum(columns) + 2 * _PAD


def _line(drawing: _Drawing, x: float, y: float, breadths: Sequence[float], texts: Sequence[str], style: str) -> None:
    for breadth, text in zip(breadths, texts, strict=True):
        if text:
            drawing.text(x + 10, y, text, style)
        x += breadth


def _heads(drawing: _Drawing, x: float, y: float, breadths: Sequence[float], heads: Sequence[Head]) -> None:
    for breadth, head in zip(breadths, heads, strict=True):
        if head.span:
            drawing.box(x, y, breadth - _GAP, "tint", rows=head.span)
            drawing.text(x + 10, y, head.text, "ink strong")
        x += breadth


def _spots(drawing: _Drawing, x: float, y: float, breadths: Sequence[float], row: Row) -> None:
    for breadth, spot in zip(breadths, row.spots, strict=True):
        if spot is not None:
            color = words.color(spot)
            drawing.parts.append(f"<g><title>{_safe(_told(spot))}</title>")
            drawing.box(x, y, breadth - _GAP, f"on-{color}")
            drawing.text(x + 10, y, _said(spot), f"{color} strong")
            drawing.parts.append("</g>")
        x += breadth


def _breadth(texts: Sequence[str]) -> float:
    return max(map(_length, texts), default=0) + 20 + _GAP


def _length(text: str) -> float:
    """About how far a text reaches; there is no font here to measure it with."""
    return sum(_BROAD if char in "mwMW@%" else _NARROW if char in "ijlt.,:;|'! " else _LETTER for char in text)


def _said(result: CellResult | None) -> str:
    return "" if result is None else f"{words.mark(result)} {words.brief(result)}"


def _told(result: CellResult) -> str:
    """What a pointer that rests on the cell is told."""
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.cell.name}: {words.verdict(result)}{reason}"


def _safe(text: str) -> str:
    """Text as XML, without what XML cannot hold."""
    from devbox.reports.junit import printable

    return escape(printable(text), quote=False)
