"""One block a cell, when it ends: all that it printed, never between another's lines. For logs and pipes."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display.matrix import lines
from devbox.cli.display.plain import PlainDisplay
from devbox.errors import one_line
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports import logs, words

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.execute.events import Event
    from devbox.model.matrix import CellResult, MatrixEvent


class PlainMatrix:
    """Steps as the plain display shows them, then the cells. Events come on several threads."""

    def __init__(self) -> None:
        self._steps = PlainDisplay()
        self._lock = threading.Lock()
        self._width = 0
        self._color = terminal.has_color(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Print what ended."""
        match event:
            case MatrixStarted():
                self._width = lines.name_width(event.cells)
                self._say("·", "dim", lines.started(len(event.cells), event.jobs))
            case CellEvent():
                pass
            case CellDone():
                with self._lock:
                    self._block(event.result)
            case _:
                with self._lock:
                    self._steps(event)

    def _block(self, result: CellResult) -> None:
        written = False
        if result.state != "cached":
            for line in logs.lines(result):
                if not written:
                    terminal.say(terminal.paint(f"── {one_line(result.cell.name)} ──", "bold", when=self._color))
                    written = True
                terminal.say(line)
        self._say(words.mark(result), words.color(result), lines.ended(result, width=self._width))

    def _say(self, mark: str, color: str, text: str) -> None:
        terminal.say(f"{terminal.paint(mark, color, when=self._color)} {text}")
