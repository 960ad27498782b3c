"""Live display: running steps with elapsed time, progress and last output line; finished steps scroll above.

rich is imported at the first step, so that a no-op `up` does not pay for it.
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

_REDRAWS = 12  # per second


class LiveFooter:
    """A redrawn board at the bottom of the terminal, with permanent lines above.

    Drawing and printing exclude each other: rich redraws between the two halves of a print (its issue 1530), which
    erases a permanent line if the height of the board has changed.
    """

    def __init__(self, board: RenderableType) -> None:
        """Start showing the board."""
        from rich.console import Console
        from rich.live import Live

        console = Console(
            stderr=True, no_color=not terminal.has_color(sys.stderr), highlight=False, force_terminal=True
        )
        self._live = Live(
            board, console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._drawing = threading.Lock()
        self._stopped = threading.Event()
        self._live.start()
        self._redraws = threading.Thread(target=self._redraw, daemon=True)
        self._redraws.start()

    def print_line(self, line: Text) -> None:
        """Print a permanent line."""
        with self._drawing:
            self._live.console.print(line, soft_wrap=True, highlight=False)

    def stop(self) -> None:
        """Remove the board and restore the cursor."""
        self._stopped.set()
        self._redraws.join()
        self._live.stop()

    def _redraw(self) -> None:
        while not self._stopped.wait(1 / _REDRAWS):
            with self._drawing:
                self._live.refresh()


def print_line(foot: LiveFooter | None, mark: str, color: str, text: str) -> None:
    """Print a permanent line, above the board if there is one."""
    if foot is None:
        terminal.print_line(f"{terminal.paint(mark, color, when=terminal.has_color(sys.stderr))} {text}")
        return
    from rich.text import Text

    line = Text.assemble((mark, color), f" {text}")
    if not terminal.has_unicode(sys.stderr):
        line = Text(terminal.to_ascii(line.plain))
    foot.print_line(line)


class TtyDisplay:
    """Live display: final lines without routine reasons, and a board of running steps below."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0
        self._steps = 0
        self._foot: LiveFooter | None = None
        self._board: StepBoard | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the board and restore the cursor."""
        with self._lock:
            self._close()

    def __call__(self, event: Event) -> None:
        """Print ended steps and update running ones."""
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
        if self._steps == 0:  # the terminal may be passed to a container next
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
        """Remove the board; its state is kept."""
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
        """Print a permanent line, above the board if there is one."""
        print_line(self._foot, mark, color, text)

    def _ensure_board(self) -> StepBoard:
        """Return the board, shown from now on."""
        if self._board is None:
            self._board = _open_board(steps=self._steps, width=self._width)
            self._foot = LiveFooter(self._board)
        return self._board


def _open_board(*, steps: int, width: int) -> StepBoard:
    from devbox.cli.display.boards import StepBoard

    return StepBoard(steps=steps, width=width, unicode=terminal.has_unicode(sys.stderr))
