"""What the live displays share: a board at the foot of the terminal, and lines that stay above it."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_REDRAWS = 12  # a second
_SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPIN_ASCII = "|/-\\"
_SPINS = 10  # a second


class Foot:
    """A board at the foot of the terminal that is drawn again and again, and lines that stay above it.

    Only one at a time draws or prints: rich's own redrawing comes in between a print's two halves (its issue 1530), and
    rubs out a line that was to stay when the board has another height by then.
    """

    def __init__(self, board: RenderableType) -> None:
        """Show the board from now on."""
        from rich.console import Console
        from rich.live import Live

        console = Console(
            stderr=True, no_color=not terminal.has_color(sys.stderr), highlight=False, force_terminal=True
        )
        self._live = Live(
            board,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._drawing = threading.Lock()
        self._stopped = threading.Event()
        self._live.start()
        self._redraws = threading.Thread(target=self._redraw, daemon=True)
        self._redraws.start()

    def say(self, line: Text) -> None:
        """A line that stays."""
        with self._drawing:
            self._live.console.print(line, soft_wrap=True, highlight=False)

    def stop(self) -> None:
        """Take the board away, and give the cursor back."""
        self._stopped.set()
        self._redraws.join()
        self._live.stop()

    def _redraw(self) -> None:
        while not self._stopped.wait(1 / _REDRAWS):
            with self._drawing:
                self._live.refresh()


def say(foot: Foot | None, mark: str, color: str, text: str) -> None:
    """A line that stays, above the board when there is one."""
    if foot is None:
        terminal.say(f"{terminal.paint(mark, color, when=terminal.has_color(sys.stderr))} {text}")
        return
    from rich.text import Text

    line = Text.assemble((mark, color), f" {text}")
    if not terminal.has_unicode(sys.stderr):
        line = Text(terminal.to_ascii(line.plain))
    foot.say(line)


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
