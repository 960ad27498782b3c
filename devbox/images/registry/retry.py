"""Going on after a broken transfer: again and again, with growing pauses, as long as something still arrives.

And how long is waited for a registry that says nothing, or says it byte by byte.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from devbox.errors import RegistryUnavailable

_TRIES = 4  # in a row, of which none moves anything
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
MAX_RETRY_AFTER = (
    20  # seconds, when a registry says itself when to come again; who says more than that is not waited for
)

CONNECT, SILENCE = 15.0, 30.0  # seconds: to be connected, and between two pieces of an answer
ANSWER = 60.0  # seconds for a whole answer that is no blob
_WINDOW = 30.0  # seconds in which a blob must move by
_LEAST = 30 << 10  # bytes
_SLOWEST_UPLOAD = 16 << 10  # bytes a second

T = TypeVar("T")


def retry_transfer(attempt: Callable[[], T], *, position: Callable[[], int]) -> T:
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
            silent = error.is_silent and not failures < 1
            if silent or failures >= _TRIES or wait > MAX_RETRY_AFTER:
                raise
        threading.Event().wait(wait)


class TooSlow(Exception):
    """An answer took longer than anybody waits."""


def run_with_timeout(work: Callable[[], T], *, sent: int = 0, most: float | None = None) -> T:
    """What `work` gives, as a request and its answer; TooSlow where that takes too long. `sent`: bytes that it sends.

    Limits between two bytes do not end an answer that drips. The thread that still waits ends with this process.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            done.put((None, error))

    threading.Thread(target=attempt, daemon=True).start()
    try:
        result, error = done.get(timeout=(ANSWER if most is None else most) + sent / _SLOWEST_UPLOAD)
    except queue.Empty:
        raise TooSlow from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # there is one where there is no error


class PaceMonitor:
    """Watches a blob arrive."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._count = 0

    def record(self, count: int) -> None:
        """So many bytes more; TooSlow where they were too few for a while."""
        self._count += count
        now = time.monotonic()
        if now - self._began >= _WINDOW:
            if self._count < _LEAST:
                raise TooSlow
            self._began, self._count = now, 0


def format_slowest() -> str:
    """The least that a blob must move, for a sentence."""
    return f"{_LEAST >> 10} kB in {_WINDOW:.0f} s"


AT_ONCE = 4

Result = TypeVar("Result")


def run_parallel(work: Callable[[Result], None], items: Iterable[Result]) -> None:
    """Do the work for every item. What one raises is raised, when those that had begun are done."""
    waiting = deque(items)
    failures: list[BaseException] = []

    def go_on() -> None:
        while not failures:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
                failures.append(error)

    # Daemons, so that Ctrl-C ends devbox at once: what has arrived is kept anyway.
    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
