"""What commands print as data: one JSON document, or a table for a person."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.columns import aligned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.execute.events import Event


def document(plain: object) -> int:
    """Print a JSON document; the exit code of a command that has done its work."""
    sys.stdout.write(f"{json.dumps(plain)}\n")
    return 0


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows below a head; on a terminal the last column goes on below itself."""
    color = terminal.has_color(sys.stdout)
    for at, line in enumerate(aligned([head, *rows], width=columns())):
        terminal.say(terminal.paint(line, "dim", when=color and at == 0), stream=sys.stdout)


def columns() -> int:
    """How many columns data may take; 0 for any number, where no terminal shows it."""
    return terminal.width(sys.stdout) if sys.stdout.isatty() else 0


def notes(event: Event) -> None:
    """Show the notes among events, a line each on stderr: for commands without progress."""
    from devbox.execute.events import Note

    if isinstance(event, Note):
        terminal.say(f"· {event.text}")
