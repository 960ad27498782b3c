"""Live display of a matrix: finished cells scroll above the board of running ones."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display import live, matrix_plain
from devbox.errors import to_one_line
from devbox.execute.events import Note
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports import grid

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.cli.display.boards import CellBoard
    from devbox.execute.events import Event
    from devbox.model.matrix import MatrixEvent


class TtyMatrix:
    """Live display: steps until the matrix starts, then cells."""

    def __init__(self) -> None:
        self._steps = live.TtyDisplay()
        self._lock = threading.Lock()
        self._width = 0
        self._known: list[MatrixEvent] = []  # initial events of the board
        self._foot: live.LiveFooter | None = None
        self._board: CellBoard | None = None

    def __enter__(self) -> Self:
        self._steps.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the board and restore the cursor."""
        self._steps.__exit__(kind, error, at)
        with self._lock:
            if self._foot is not None:
                self._foot.stop()
            self._foot = None

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Print ended cells and update running ones."""
        with self._lock:
            match event:
                case MatrixStarted():
                    self._steps.__exit__(None, None, None)
                    self._known, self._width = [event], matrix_plain.compute_name_width(event.cells)
                    live.print_line(None, "·", "dim", matrix_plain.format_started(len(event.cells), event.jobs))
                case CellEvent():
                    if event.phase != "waiting" or self._board is not None:
                        self._ensure_board().update(event)
                case CellDone():
                    self._show_end(event)
                case Note() if self._known:
                    live.print_line(self._foot, "·", "dim", to_one_line(event.text))
                case _:
                    self._steps(event)

    def _show_end(self, event: CellDone) -> None:
        room = terminal.get_width(sys.stderr) - len("✓ ") - 1
        text = matrix_plain.format_ended(event.result, width=self._width, room=room)
        live.print_line(self._foot, grid.choose_mark(event.result), grid.choose_color(event.result), text)
        if event.result.state == "cached" and self._board is None:
            self._known.append(event)  # if no cell runs, no board is opened
        else:
            self._ensure_board().update(event)

    def _ensure_board(self) -> CellBoard:
        """Return the board, shown from now on."""
        if self._board is None:
            from devbox.cli.display.boards import CellBoard

            self._board = CellBoard(width=self._width, unicode=terminal.has_unicode(sys.stderr))
            for event in self._known:
                self._board.update(event)
            self._foot = live.LiveFooter(self._board)
        return self._board
