"""A host port that was free at the look and taken at the start: another look finds another, or says who has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from devbox.errors import PortTaken
from devbox.execute.events import Note, Sink

_TIMES = 2

P = ParamSpec("P")
Opened = TypeVar("Opened")
R = TypeVar("R")


def with_another_look(verb: Callable[Concatenate[Opened, Sink, P], R]) -> Callable[Concatenate[Opened, Sink, P], R]:
    """Do a verb of the flow anew where it lost a port. What it had done by then is found and kept."""

    @wraps(verb)
    def looking(opened: Opened, sink: Sink, /, *args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(_TIMES):
            try:
                return verb(opened, sink, *args, **kwargs)
            except PortTaken as lost:
                sink(Note(text=f"{lost.sentence} by now: looking once more"))
        return verb(opened, sink, *args, **kwargs)

    return looking
