"""How a finished step reads. Pure: the plain and the live display print the same lines.

Words of the file, and of programs in containers, are among them: nothing that they hold moves the cursor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from devbox.errors import one_line
from devbox.host import durations
from devbox.plan.explain import goes_without_saying

if TYPE_CHECKING:
    from devbox.execute.events import PlanMade, StepEnded

MARKS = {"done": "✓", "failed": "✗", "skipped": "·"}
COLORS = {"done": "green", "failed": "red", "skipped": "dim"}
_MINUTE = 60.0
_EXACT_BELOW = 10.0
_LONGEST_NAME = 28
_SHORTEST_REASON = 16


def name_width(plan: PlanMade) -> int:
    """Columns that the names of a plan's steps get, so that results line up."""
    return min(max((len(f"{op} {resource}") for _, op, resource, _ in plan.steps), default=0), _LONGEST_NAME)


def ended(event: StepEnded, *, width: int) -> str:
    """What follows the mark: `bake db      12 layers, 180 MB  41.2 s — not baked yet: postgresql`."""
    return f"{result(event, width=width)} — {one_line(event.reason)}"


def ended_briefly(event: StepEnded, *, width: int, room: int) -> str:
    """The same for a person at a terminal: one line of it, and a reason only where something changed."""
    shown = result(event, width=width)
    if (over := len(shown) - room) > 0:  # an error's sentence: it follows in full
        shown = result(replace(event, text=cut(event.text, len(event.text) - over)), width=width)
    if event.outcome != "done" or goes_without_saying(event.reason):
        return shown
    left = room - len(shown) - len(" — ")
    return f"{shown} — {cut(one_line(event.reason), left)}" if left >= _SHORTEST_REASON else shown


def result(event: StepEnded, *, width: int) -> str:
    """What a step came to, without why it was there."""
    name = f"{event.op} {event.resource}".ljust(width)
    done = [one_line(event.text), durations.shown(event.seconds)] if event.outcome != "skipped" else ["not reached"]
    return "  ".join(part for part in (name, *done) if part)


def cut(text: str, room: int) -> str:
    """Text that fits, with a sign where something is left out."""
    return text if len(text) <= room else f"{text[: max(room - 1, 0)].rstrip()}…"


def elapsed(seconds: float) -> str:
    """A running time, coarse enough not to flicker: `1.7 s`, `41 s`, `2 min 05 s`."""
    if seconds < _EXACT_BELOW:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < _MINUTE else durations.shown(seconds)


def progress(done: float, total: float | None) -> str:
    """How much of how much, the unit once where it is the same: `3.4 of 10.9 MB`, `512 B of 3.4 MB`, `3.4 MB`."""
    if not total:
        return size(done)
    have, whole = size(done), size(total)
    number, _, unit = have.partition(" ")
    return f"{number} of {whole}" if whole.endswith(f" {unit}") else f"{have} of {whole}"


def size(count: float) -> str:
    """Bytes for a person: `512 B`, `3.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - the step of SI prefixes
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
