"""Which display watches `devbox test`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from devbox.cli import terminal

if TYPE_CHECKING:
    from devbox.execute.events import Event
    from devbox.model.matrix import MatrixEvent


class MatrixDisplay(AbstractContextManager["MatrixDisplay"], Protocol):
    """Shows steps and cells as they come, from any thread, between enter and exit."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Show one event."""


def choose(progress: str) -> MatrixDisplay:
    """The display that `--progress` names; `auto` is live on a terminal and plain elsewhere."""
    kind = progress or "auto"
    if kind == "auto":
        kind = "tty" if terminal.is_live(sys.stderr) else "plain"
    return _DISPLAYS[kind]()


def _plain() -> MatrixDisplay:
    from devbox.cli.display.matrix.plain import PlainMatrix

    return PlainMatrix()


def _tty() -> MatrixDisplay:
    from devbox.cli.display.matrix.tty import TtyMatrix

    return TtyMatrix()


def _json() -> MatrixDisplay:
    from devbox.cli.display.matrix.json import JsonMatrix

    return JsonMatrix()


def _quiet() -> MatrixDisplay:
    from devbox.cli.display.matrix.quiet import QuietMatrix

    return QuietMatrix()


_DISPLAYS = {"plain": _plain, "tty": _tty, "json": _json, "quiet": _quiet}
