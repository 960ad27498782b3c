"""Data output of commands: a JSON document, or a table."""

from __future__ import annotations

import json
import sys
import textwrap

from devbox.cli import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.execute.events import Event

_NARROWEST = 20  # of a last column


def align_columns(rows: Iterable[tuple[str, ...]], *, width: int = 0) -> list[str]:
    """Align rows in columns; with a width, wrap the last column in place.

    Words are never broken, so that they can be copied.
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


def format_count(number: int, noun: str) -> str:
    """Format a number of things: `1 volume`, `2 volumes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_document(plain: object) -> int:
    """Print a JSON document; return exit code 0."""
    sys.stdout.write(f"{json.dumps(plain)}\n")
    return 0


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows below a header; on a terminal, the last column is wrapped in place."""
    color = terminal.has_color(sys.stdout)
    for at, line in enumerate(align_columns([head, *rows], width=find_data_width())):
        terminal.print_line(terminal.paint(line, "dim", when=color and at == 0), stream=sys.stdout)


def find_data_width() -> int:
    """Return the available columns; 0 for unlimited, without a terminal."""
    return terminal.get_width(sys.stdout) if sys.stdout.isatty() else 0


def print_notes(event: Event) -> None:
    """Print notes on stderr, one line each, for commands without progress."""
    from devbox.execute.events import Note

    if isinstance(event, Note):
        terminal.print_line(f"· {event.text}")
