"""Rows as lines, their columns below each other."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NARROWEST = 20  # of a last column


def aligned(rows: Iterable[tuple[str, ...]], *, width: int = 0) -> list[str]:
    """Rows as lines, their columns below each other; with a width the last column goes on below itself.

    What people copy stays whole: no line is broken within a word.
    """
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    before = sum(widths[:-1]) + 2 * len(widths[:-1])
    lines = []
    for row in cells:
        front = "".join(f"{cell.ljust(size)}  " for cell, size in zip(row, widths[:-1], strict=False))
        room = max(width - before, _NARROWEST) if width else sys.maxsize
        parts = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"{front}{parts[0]}".rstrip(), *(" " * before + part for part in parts[1:])]
    return lines
