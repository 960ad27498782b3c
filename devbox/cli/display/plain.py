"""Non-live displays: one line per step when it ends, for logs, pipes and screen readers."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from dataclasses import replace

from devbox.cli.terminal import has_color, paint, print_line
from devbox.errors import to_one_line
from devbox.execute.events import Event, Lent, Looked, Note, PlanMade, StepEnded
from devbox.model import duration
from devbox.model.plan import is_routine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class QuietDisplay:
    """Display without output, except the reason to open a shell."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release nothing."""

    def __call__(self, event: Event) -> None:
        """Print only why a shell opens."""
        if isinstance(event, Lent) and event.text:
            print_line(event.text)


_NAMES = {
    "PlanMade": "plan",
    "StepStarted": "started",
    "StepProgress": "progress",
    "StepLine": "line",
    "StepEnded": "ended",
    "Note": "note",
    "Lent": "lent",
    "Returned": "returned",
    "Looked": "looked",
}


class JsonDisplay:
    """JSON display: `{"event": "ended", …}` with the event's own fields."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release nothing."""

    def __call__(self, event: Event) -> None:
        """Write the event."""
        line = json.dumps({"event": _NAMES[type(event).__name__], **dataclasses.asdict(event)})
        with self._lock:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


MARKS = {"done": "✓", "failed": "✗", "skipped": "·"}
COLORS = {"done": "green", "failed": "red", "skipped": "dim"}
_MINUTE = 60.0
_EXACT_BELOW = 10.0
_LONGEST_NAME = 28
_SHORTEST_REASON = 16


def compute_name_width(plan: PlanMade) -> int:
    """Return the width of the step names, for aligned results."""
    return min(max((len(f"{op} {resource}") for _, op, resource, _ in plan.steps), default=0), _LONGEST_NAME)


def format_ended(event: StepEnded, *, width: int) -> str:
    """Format an ended step after its mark: `bake db      12 layers, 180 MB  41.2 s — not baked yet: postgresql`."""
    return f"{format_result(event, width=width)} — {to_one_line(event.reason)}"


def format_ended_briefly(event: StepEnded, *, width: int, room: int) -> str:
    """Format an ended step for a terminal: one line, with the reason only for a change."""
    shown = format_result(event, width=width)
    if (over := len(shown) - room) > 0:  # an error sentence, printed in full later
        shown = format_result(replace(event, text=cut(event.text, len(event.text) - over)), width=width)
    if event.outcome != "done" or is_routine(event.reason):
        return shown
    left = room - len(shown) - len(" — ")
    return f"{shown} — {cut(to_one_line(event.reason), left)}" if left >= _SHORTEST_REASON else shown


def format_result(event: StepEnded, *, width: int) -> str:
    """Format the result of a step without its reason."""
    name = f"{event.op} {event.resource}".ljust(width)
    done = (
        [to_one_line(event.text), duration.format_elapsed(event.seconds)]
        if event.outcome != "skipped"
        else ["not reached"]
    )
    return "  ".join(part for part in (name, *done) if part)


def cut(text: str, room: int) -> str:
    """Cut a text to the width, with an ellipsis."""
    return text if len(text) <= room else f"{text[: max(room - 1, 0)].rstrip()}…"


def format_running_time(seconds: float) -> str:
    """Format a running time, coarse enough not to flicker: `1.7 s`, `41 s`, `2 min 05 s`."""
    if seconds < _EXACT_BELOW:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < _MINUTE else duration.format_elapsed(seconds)


def format_progress(done: float, total: float | None) -> str:
    """Format progress with a common unit only once: `3.4 of 10.9 MB`, `512 B of 3.4 MB`, `3.4 MB`."""
    if not total:
        return format_size(done)
    have, whole = format_size(done), format_size(total)
    number, _, unit = have.partition(" ")
    return f"{number} of {whole}" if whole.endswith(f" {unit}") else f"{have} of {whole}"


def format_size(count: float) -> str:
    """Format bytes: `512 B`, `3.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - SI prefix step
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


class PlainDisplay:
    """Plain display: each step once. Thread-safe; lines are written as a whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0
        self._color = has_color(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release nothing."""

    def __call__(self, event: Event) -> None:
        """Print ended steps."""
        match event:
            case PlanMade():
                self._width = compute_name_width(event)
            case StepEnded():
                mark = paint(MARKS[event.outcome], COLORS[event.outcome], when=self._color)
                self._print(f"{mark} {format_ended(event, width=self._width)}")
            case Note():
                self._print(f"{paint('·', 'dim', when=self._color)} {to_one_line(event.text)}")
            case Lent() if event.text:
                self._print(f"{paint(MARKS['failed'], 'red', when=self._color)} {event.text}")
            case Looked() if event.changed:
                from devbox.cli.display import gray

                self._print(gray.format_change(event.glance).text)
            case _:
                pass

    def _print(self, line: str) -> None:
        with self._lock:
            print_line(line)
