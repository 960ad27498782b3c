"""The person's terminal, lent to the shell of a step that failed; meanwhile all others wait to be shown."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from devbox.errors import one_line
from devbox.execute.events import Event, Lent, Returned, Sink


class Terminal:
    """The terminal behind `fd`, and the display that draws on it. A `Lender` of images, whose `show` is a sink."""

    def __init__(self, fd: int, sink: Sink) -> None:
        self.fd = os.dup(fd)  # a worker's own streams take the first numbers
        self._sink = sink
        self._lock = threading.Lock()

    def show(self, event: Event) -> None:
        """Show an event, when the terminal is the display's."""
        with self._lock:
            self._sink(event)

    @contextmanager
    def lent(self, sentence: str, details: str) -> Iterator[None]:
        """See `images.lending.Lender`."""
        lines = [f"  | {line}" for line in details.strip().splitlines()[-8:]]
        hint = "a shell in the state it left, which is thrown away afterwards; exit ends it"
        with self._lock:
            self._sink(Lent(text="\n".join(map(one_line, (sentence, *lines, f"  → {hint}")))))
            try:
                yield
            finally:
                self._sink(Returned())
