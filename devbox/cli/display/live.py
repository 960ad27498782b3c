"""The live display: what runs now, with elapsed time, downloads and the last line; finished steps scroll above it.

rich is imported when the first step starts, so that an `up` with nothing to do does not pay for it.
"""

from __future__ import annotations

import sys
import threading
import time

from devbox.cli import terminal
from devbox.cli.display import plain
from devbox.errors import to_one_line
from devbox.execute.events import Event, Lent, Looked, Note, PlanMade, Returned, StepEnded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType
    from rich.text import Text

    from devbox.cli.display.boards import StepBoard

_REDRAWS = 12  # a second


class LiveFooter:
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

    def print_line(self, line: Text) -> None:
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


def print_line(foot: LiveFooter | None, mark: str, color: str, text: str) -> None:
    """A line that stays, above the board when there is one."""
    if foot is None:
        terminal.print_line(f"{terminal.paint(mark, color, when=terminal.has_color(sys.stderr))} {text}")
        return
    from rich.text import Text

    line = Text.assemble((mark, color), f" {text}")
    if not terminal.has_unicode(sys.stderr):
        line = Text(terminal.to_ascii(line.plain))
    foot.print_line(line)


class TtyDisplay:
    """Final lines, without the reasons that a person at a terminal can see, and below them a board of running steps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0
        self._steps = 0
        self._foot: LiveFooter | None = None
        self._board: StepBoard | None = None

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
                    self._width = plain.compute_name_width(event)
                    self._steps = len(event.steps)
                case Note():
                    self._print("·", "dim", to_one_line(event.text))
                case StepEnded():
                    self._show_end(event)
                case Lent():
                    self._pause()
                    if event.text:
                        self._print(plain.MARKS["failed"], "red", event.text)
                case Returned():
                    self._resume()
                case Looked():
                    self._show_observation(event)
                case _:
                    self._ensure_board().update(event, now=time.monotonic())

    def _show_end(self, event: StepEnded) -> None:
        if self._board is not None:
            self._board.remove_step(event.id)
        room = terminal.get_width(sys.stderr) - len("✓ ") - 1
        text = plain.format_ended_briefly(event, width=self._width, room=room)
        self._print(plain.MARKS[event.outcome], plain.COLORS[event.outcome], text)
        self._steps -= 1
        if self._steps == 0:  # the terminal may belong to a container next
            self._close()

    def _show_observation(self, event: Looked) -> None:
        from devbox.cli.display import gray

        if event.changed:
            mark, _, text = gray.format_change(event.glance).text.partition(" ")
            self._print(mark, gray.format_change(event.glance).color, text)
        if event.glance.phase in gray.ENDS:
            self._close()
        else:
            self._ensure_board().update(event, now=time.monotonic())

    def _pause(self) -> None:
        """Take the board away; what it knows stays."""
        if self._foot is not None:
            self._foot.stop()
            self._foot = None

    def _resume(self) -> None:
        if self._board is not None:
            self._foot = LiveFooter(self._board)

    def _close(self) -> None:
        if self._foot is not None:
            self._foot.stop()
        self._foot = self._board = None

    def _print(self, mark: str, color: str, text: str) -> None:
        """A line that stays, above the board when there is one."""
        print_line(self._foot, mark, color, text)

    def _ensure_board(self) -> StepBoard:
        """The board, shown from now on."""
        if self._board is None:
            self._board = _open_board(steps=self._steps, width=self._width)
            self._foot = LiveFooter(self._board)
        return self._board


def _open_board(*, steps: int, width: int) -> StepBoard:
    from devbox.cli.display.boards import StepBoard

    return StepBoard(steps=steps, width=width, unicode=terminal.has_unicode(sys.stderr))
