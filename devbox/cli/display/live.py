"""What the live displays share: a board that rich redraws at the foot of the terminal, and lines that stay above it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from devbox.cli import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

_REDRAWS = 12  # a second
_SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPIN_ASCII = "|/-\\"
_SPINS = 10  # a second


def show(board: RenderableType) -> Live:
    """The board, from now on; `stop` takes it away and gives the cursor back."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, no_color=not terminal.has_color(sys.stderr), highlight=False, force_terminal=True)
    live = Live(
        board,
        console=console,
        refresh_per_second=_REDRAWS,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    live.start()
    return live


def say(live: Live | None, mark: str, color: str, text: str) -> None:
    """A line that stays, above the board when there is one."""
    if live is None:
        terminal.say(f"{terminal.paint(mark, color, when=terminal.has_color(sys.stderr))} {text}")
        return
    from rich.text import Text

    line = Text.assemble((mark, color), f" {text}")
    if not terminal.has_unicode(sys.stderr):
        line = Text(terminal.to_ascii(line.plain))
    live.console.print(line, soft_wrap=True, highlight=False)


def spinner(seconds: float, *, unicode: bool) -> str:
    """The sign of something that has been running for so long."""
    signs = _SPIN if unicode else _SPIN_ASCII
    return signs[int(seconds * _SPINS) % len(signs)]


def cut(text: Text, room: int, *, unicode: bool) -> Text:
    """A line that fits, with a sign where something is left out."""
    from rich.text import Text as Plain

    shown = text if unicode else Plain(terminal.to_ascii(text.plain))
    shown.truncate(room, overflow="ellipsis" if unicode else "crop")
    shown.no_wrap = True
    return shown
