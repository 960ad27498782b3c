"""One line a step, when it ends: for logs, pipes and screen readers."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli.display import lines
from devbox.cli.terminal import has_color, paint, say
from devbox.errors import one_line
from devbox.execute.events import Event, Lent, Looked, Note, PlanMade, StepEnded

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class PlainDisplay:
    """Prints each step once. Steps end on several threads; a line is written whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0
        self._color = has_color(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""

    def __call__(self, event: Event) -> None:
        """Print what ended."""
        match event:
            case PlanMade():
                self._width = lines.name_width(event)
            case StepEnded():
                mark = paint(lines.MARKS[event.outcome], lines.COLORS[event.outcome], when=self._color)
                self._print(f"{mark} {lines.ended(event, width=self._width)}")
            case Note():
                self._print(f"{paint('·', 'dim', when=self._color)} {one_line(event.text)}")
            case Lent() if event.text:
                self._print(f"{paint(lines.MARKS['failed'], 'red', when=self._color)} {event.text}")
            case Looked() if event.changed:
                from devbox.cli.display import gray

                self._print(gray.changed(event.glance).text)
            case _:
                pass

    def _print(self, line: str) -> None:
        with self._lock:
            say(line)
