"""Retries of interrupted transfers with backoff, while there is progress.

Also timeouts for registries that do not respond, or respond too slowly.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from devbox.errors import RegistryUnavailable

_TRIES = 4  # consecutive attempts without progress
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
MAX_RETRY_AFTER = 20  # seconds; a registry that requests a longer wait is not retried

CONNECT, SILENCE = 15.0, 30.0  # seconds: connecting, and between two reads of a response
ANSWER = 60.0  # seconds for a complete response other than a blob
_WINDOW = 30.0  # seconds in which a blob must progress by
_LEAST = 30 << 10  # bytes
_SLOWEST_UPLOAD = 16 << 10  # bytes per second

T = TypeVar("T")


def retry_transfer(attempt: Callable[[], T], *, position: Callable[[], int]) -> T:
    """Call `attempt` and retry on RegistryUnavailable while `position` advances; return the result."""
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
    """A response exceeded its time limit."""


def run_with_timeout(work: Callable[[], T], *, sent: int = 0, most: float | None = None) -> T:
    """Return the result of a request; raise TooSlow after a time limit. `sent`: bytes of the request.

    Read timeouts do not stop a response that trickles in. The waiting thread ends with this process.
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
    return result  # type: ignore[return-value]  # set unless there is an error


class PaceMonitor:
    """Monitors the transfer rate of a blob."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._count = 0

    def record(self, count: int) -> None:
        """Count received bytes; raise TooSlow if the rate was too low for a while."""
        self._count += count
        now = time.monotonic()
        if now - self._began >= _WINDOW:
            if self._count < _LEAST:
                raise TooSlow
            self._began, self._count = now, 0


def format_slowest() -> str:
    """Format the minimum rate for a message."""
    return f"{_LEAST >> 10} kB in {_WINDOW:.0f} s"


AT_ONCE = 4

Result = TypeVar("Result")


def run_parallel(work: Callable[[Result], None], items: Iterable[Result]) -> None:
    """Run the work for every item; after an error, wait for the running ones and raise it."""
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
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                failures.append(error)

    # Daemon threads, so that Ctrl-C exits at once: received data is kept anyway.
    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
