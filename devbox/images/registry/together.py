"""A few pieces of work side by side; after the first failure no more are begun."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

AT_ONCE = 4

T = TypeVar("T")


def together(work: Callable[[T], None], items: Iterable[T]) -> None:
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
