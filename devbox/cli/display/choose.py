"""Which display watches a command."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from devbox.cli import terminal

if TYPE_CHECKING:
    from devbox.execute.events import Event


class Display(AbstractContextManager["Display"], Protocol):
    """Shows events as they come, from any thread, between enter and exit; exit leaves the terminal as it was."""

    def __call__(self, event: Event) -> None:
        """Show one event."""


def choose(progress: str) -> Display:
    """The display that `--progress` names; `auto` is live on a terminal and plain elsewhere."""
    kind = progress or "auto"
    if kind == "auto":
        kind = "tty" if terminal.is_live(sys.stderr) else "plain"
    return _DISPLAYS[kind]()


def _plain() -> Display:
    from devbox.cli.display.plain import PlainDisplay

    return PlainDisplay()


def _tty() -> Display:
    from devbox.cli.display.tty import TtyDisplay

    return TtyDisplay()


def _json() -> Display:
    from devbox.cli.display.json import JsonDisplay

    return JsonDisplay()


def _quiet() -> Display:
    from devbox.cli.display.quiet import QuietDisplay

    return QuietDisplay()


_DISPLAYS = {"plain": _plain, "tty": _tty, "json": _json, "quiet": _quiet}
