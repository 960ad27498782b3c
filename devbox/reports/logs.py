"""What a cell printed: whole, line by line, or its end. Nothing in it moves the cursor of a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from devbox.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devbox.model.matrix import CellResult

_LONGEST_LINE = 16_384  # bytes; longer ones are read in pieces


def lines(result: CellResult) -> Iterator[str]:
    """All lines of its log, none where there is no log."""
    try:
        source = open(result.log, "rb") if result.log else None  # noqa: SIM115 - closed below
    except OSError:
        return
    if source is not None:
        with source:
            while raw := source.readline(_LONGEST_LINE):
                yield _shown(raw)


def tail(result: CellResult, *, most_lines: int, most_bytes: int = 100_000) -> list[str]:
    """The last lines of its log; the first of them says how much is left out."""
    try:
        with open(result.log, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            source.seek(max(size - most_bytes, 0))
            found = source.read(most_bytes).splitlines()
    except OSError:
        return []
    if size > most_bytes:
        del found[:1]  # begins in the middle of a line
    left_out = size > most_bytes or len(found) > most_lines
    kept = [_shown(raw) for raw in found[-most_lines:]]
    return ["…", *kept] if left_out else kept


def _shown(raw: bytes) -> str:
    """A line as it would stand on a terminal: of what carriage returns overwrote, the last."""
    text = raw.decode(errors="replace").rstrip("\r\n")
    return one_line(text.rpartition("\r")[2])
