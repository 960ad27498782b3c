"""Going on after a broken transfer: again and again, with growing pauses, as long as something still arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from devbox.errors import RegistryUnavailable

_TRIES = 4  # in a row, of which none moves anything
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
MOST_WAITED = 20  # seconds, when a registry says itself when to come again; who says more than that is not waited for

T = TypeVar("T")


def persist(attempt: Callable[[], T], *, position: Callable[[], int]) -> T:
    """The result of `attempt`, made again while it raises RegistryUnavailable and `position` still moves."""
    failures, reached, pause = 0, position(), _FIRST_PAUSE
    while True:
        try:
            return attempt()
        except RegistryUnavailable as error:
            failures = 0 if position() > reached else failures + 1
            pause = _FIRST_PAUSE if failures == 0 else min(2 * pause, _LONGEST_PAUSE)
            reached = position()
            wait = max(pause, error.after)
            if failures >= _TRIES or wait > MOST_WAITED:
                raise
        threading.Event().wait(wait)
