"""The live display: what runs now, with elapsed time, downloads and the last line; finished steps scroll above it.

rich is imported when the first step starts, so that an `up` with nothing to do does not pay for it.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display import lines, live
from devbox.errors import one_line
from devbox.execute.events import Event, Lent, Looked, Note, PlanMade, Returned, StepEnded

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.cli.display.board import Board


class TtyDisplay:
    """Final lines, without the reasons that a person at a terminal can see, and below them a board of running steps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0
        self._steps = 0
        self._foot: live.Foot | None = None
        self._board: Board | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the board away and give the cursor back."""
        with self._lock:
            self._close()

    def __call__(self, event: Event) -> None:
        """Print what ended, move what runs."""
        with self._lock:
            match event:
                case PlanMade():
                    self._width = lines.name_width(event)
                    self._steps = len(event.steps)
                case Note():
                    self._print("·", "dim", one_line(event.text))
                case StepEnded():
                    self._end(event)
                case Lent():
                    self._pause()
                    if event.text:
                        self._print(lines.MARKS["failed"], "red", event.text)
                case Returned():
                    self._resume()
                case Looked():
                    self._look(event)
                case _:
                    self._running().tell(event, now=time.monotonic())

    def _end(self, event: StepEnded) -> None:
        if self._board is not None:
            self._board.forget(event.id)
        room = terminal.width(sys.stderr) - len("✓ ") - 1
        text = lines.ended_briefly(event, width=self._width, room=room)
        self._print(lines.MARKS[event.outcome], lines.COLORS[event.outcome], text)
        self._steps -= 1
        if self._steps == 0:  # the terminal may belong to a container next
            self._close()

    def _look(self, event: Looked) -> None:
        from devbox.cli.display import gray

        if event.changed:
            mark, _, text = gray.changed(event.glance).text.partition(" ")
            self._print(mark, gray.changed(event.glance).color, text)
        if event.glance.phase in gray.ENDS:
            self._close()
        else:
            self._running().tell(event, now=time.monotonic())

    def _pause(self) -> None:
        """Take the board away; what it knows stays."""
        if self._foot is not None:
            self._foot.stop()
            self._foot = None

    def _resume(self) -> None:
        if self._board is not None:
            self._foot = live.Foot(self._board)

    def _close(self) -> None:
        if self._foot is not None:
            self._foot.stop()
        self._foot = self._board = None

    def _print(self, mark: str, color: str, text: str) -> None:
        """A line that stays, above the board when there is one."""
        live.say(self._foot, mark, color, text)

    def _running(self) -> Board:
        """The board, shown from now on."""
        if self._board is None:
            self._board = _open_board(steps=self._steps, width=self._width)
            self._foot = live.Foot(self._board)
        return self._board


def _open_board(*, steps: int, width: int) -> Board:
    from devbox.cli.display.board import Board

    return Board(steps=steps, width=width, unicode=terminal.has_unicode(sys.stderr))
