"""The live display of a matrix: finished cells scroll above the board of those that run."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display import live
from devbox.cli.display.matrix import lines
from devbox.cli.display.tty import TtyDisplay
from devbox.errors import one_line
from devbox.execute.events import Note
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports import words

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.cli.display.matrix.board import Board
    from devbox.execute.events import Event
    from devbox.model.matrix import MatrixEvent


class TtyMatrix:
    """Steps as the live display shows them until the matrix starts; from then on the cells."""

    def __init__(self) -> None:
        self._steps = TtyDisplay()
        self._lock = threading.Lock()
        self._width = 0
        self._known: list[MatrixEvent] = []  # what the board is told when it opens
        self._foot: live.Foot | None = None
        self._board: Board | None = None

    def __enter__(self) -> Self:
        self._steps.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the board away and give the cursor back."""
        self._steps.__exit__(kind, error, at)
        with self._lock:
            if self._foot is not None:
                self._foot.stop()
            self._foot = None

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Print what ended, move what runs."""
        with self._lock:
            match event:
                case MatrixStarted():
                    self._steps.__exit__(None, None, None)
                    self._known, self._width = [event], lines.name_width(event.cells)
                    live.say(None, "·", "dim", lines.started(len(event.cells), event.jobs))
                case CellEvent():
                    if event.phase != "waiting" or self._board is not None:
                        self._running().tell(event)
                case CellDone():
                    self._end(event)
                case Note() if self._known:
                    live.say(self._foot, "·", "dim", one_line(event.text))
                case _:
                    self._steps(event)

    def _end(self, event: CellDone) -> None:
        room = terminal.width(sys.stderr) - len("✓ ") - 1
        text = lines.ended(event.result, width=self._width, room=room)
        live.say(self._foot, words.mark(event.result), words.color(event.result), text)
        if event.result.state == "cached" and self._board is None:
            self._known.append(event)  # where nothing runs at all, no board is opened
        else:
            self._running().tell(event)

    def _running(self) -> Board:
        """The board, shown from now on."""
        if self._board is None:
            from devbox.cli.display.matrix.board import Board

            self._board = Board(width=self._width, unicode=terminal.has_unicode(sys.stderr))
            for event in self._known:
                self._board.tell(event)
            self._foot = live.Foot(self._board)
        return self._board
