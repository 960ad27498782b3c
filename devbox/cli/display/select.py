"""Selection of the display of a command."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Protocol

from devbox.cli import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.execute.events import Event
    from devbox.model.matrix import MatrixEvent


class Display(AbstractContextManager["Display"], Protocol):
    """Display of events from any thread, as a context manager that restores the terminal on exit."""

    def __call__(self, event: Event) -> None:
        """Show one event."""


def choose(progress: str) -> Display:
    """Return the display named by `--progress`; `auto` is live on a terminal and plain elsewhere."""
    kind = progress or "auto"
    if kind == "auto":
        kind = "tty" if terminal.is_live(sys.stderr) else "plain"
    return _DISPLAYS[kind]()


def _create_plain() -> Display:
    from devbox.cli.display.plain import PlainDisplay

    return PlainDisplay()


def _create_tty() -> Display:
    from devbox.cli.display.live import TtyDisplay

    return TtyDisplay()


def _create_json() -> Display:
    from devbox.cli.display.plain import JsonDisplay

    return JsonDisplay()


def _create_quiet() -> Display:
    from devbox.cli.display.plain import QuietDisplay

    return QuietDisplay()


_DISPLAYS = {"plain": _create_plain, "tty": _create_tty, "json": _create_json, "quiet": _create_quiet}


class MatrixDisplay(AbstractContextManager["MatrixDisplay"], Protocol):
    """Display of steps and cells from any thread, as a context manager."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Show one event."""


def choose_matrix(progress: str) -> MatrixDisplay:
    """Return the display named by `--progress`; `auto` is live on a terminal and plain elsewhere."""
    kind = progress or "auto"
    if kind == "auto":
        kind = "tty" if terminal.is_live(sys.stderr) else "plain"
    return _MATRIX_DISPLAYS[kind]()


def _create_matrix_plain() -> MatrixDisplay:
    from devbox.cli.display.matrix_plain import PlainMatrix

    return PlainMatrix()


def _create_matrix_tty() -> MatrixDisplay:
    from devbox.cli.display.matrix_live import TtyMatrix

    return TtyMatrix()


def _create_matrix_json() -> MatrixDisplay:
    from devbox.cli.display.matrix_plain import JsonMatrix

    return JsonMatrix()


def _create_matrix_quiet() -> MatrixDisplay:
    from devbox.cli.display.matrix_plain import QuietMatrix

    return QuietMatrix()


_MATRIX_DISPLAYS = {
    "plain": _create_matrix_plain,
    "tty": _create_matrix_tty,
    "json": _create_matrix_json,
    "quiet": _create_matrix_quiet,
}
