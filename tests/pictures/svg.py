"""A terminal screen as SVG: text remains text, and no font is loaded from the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

import pyte
from pyte.screens import Char

_WIDTH, _HEIGHT, _PAD, _GAP = 8.4, 18, 16, 22
_FONT = "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_INK = {"default": "#d6deeb", "green": "#7fd88f", "red": "#ff7b72", "brown": "#e6c07b", "brightblack": "#8592a8"}
_PAPER, _BAR = "#0f1722", "#1a2433"


def picture(screens: Sequence[tuple[str, list[list[Char]]]], *, columns: int) -> str:
    """Screens below each other, each with a caption."""
    parts: list[str] = []
    y = 0.0
    width = columns * _WIDTH + 2 * _PAD
    for caption, lines in screens:
        parts.append(f'<rect x="0" y="{y:g}" width="{width:g}" height="{_GAP}" fill="{_BAR}"/>')
        parts.append(f'<text x="{_PAD}" y="{y + 15:g}" fill="{_INK["brightblack"]}">{escape(caption)}</text>')
        y += _GAP + _PAD
        for row in lines:
            parts += _row(row, y + 10)
            y += _HEIGHT
        y += _PAD / 2
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {y:g}" width="{width:g}" height="{y:g}" '
        f'font-family="{_FONT}" font-size="14">\n<rect width="100%" height="100%" rx="8" fill="{_PAPER}"/>\n'
        f"{body}\n</svg>\n"
    )


def rows(screen: pyte.Screen) -> list[list[Char]]:
    """The characters of the lines that have something on them."""
    found = [[screen.buffer[y][x] for x in range(screen.columns)] for y in range(screen.lines)]
    return [row for row in found if any(char.data.strip() for char in row)]


def _row(row: Sequence[Char], y: float) -> Iterator[str]:
    """A text for each stretch of one style, as wide as its columns whatever the font."""
    for style, group in groupby(enumerate(row), key=lambda location: _style(location[1])):
        places = list(group)
        text = "".join(char.data for _, char in places).rstrip()
        if text.strip():
            lead = len(text) - len(text.lstrip())
            x = _PAD + (places[0][0] + lead) * _WIDTH
            length = len(text.strip()) * _WIDTH
            yield f'<text x="{x:g}" y="{y:g}" textLength="{length:g}" {style}>{escape(text.strip())}</text>'


def _style(char: Char) -> str:
    weight = ' font-weight="bold"' if char.bold else ""
    return f'fill="{_INK.get(char.fg, _INK["default"])}"{weight} xml:space="preserve"'
