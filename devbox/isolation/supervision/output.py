"""A container's output on its way from the FIFO into its log."""

from __future__ import annotations

import os

from devbox.isolation.logs import LogWriter, open_fifo, open_writer
from devbox.isolation.masking import Mask
from devbox.isolation.supervision.loop import Loop, Timer

_PATIENCE = 1.0  # how long an unfinished line may wait for its end


class Output:
    """Reads one container's FIFO as long as the supervisor keeps that container."""

    def __init__(self, loop: Loop, *, fifo: str, log: str, hidden: tuple[str, ...] = ()) -> None:
        self._loop = loop
        self.path = fifo
        self._fifo = open_fifo(fifo)
        self._log = LogWriter(log, mask=Mask(hidden))
        self._flush_timer: Timer | None = None
        loop.watch(self._fifo, self._pump)

    def writer(self) -> int:
        """A descriptor for a process's stdout and stderr; the caller closes it."""
        return open_writer(self.path)

    def note(self, text: str) -> None:
        """A line of devbox's own in the log, after what was printed before it."""
        self.drain()
        self._log.note(text)

    def drain(self) -> None:
        """Log everything written so far, unfinished lines included: a process has ended."""
        self._log.pump(self._fifo)
        self._log.flush()

    def close(self) -> None:
        """Drain and let go; the FIFO goes, too."""
        self._cancel_flush()
        self._loop.unwatch(self._fifo)
        self.drain()
        os.close(self._fifo)
        os.unlink(self.path)
        self._log.close()

    def _pump(self) -> None:
        self._cancel_flush()
        self._log.pump(self._fifo)
        if self._log.unfinished:
            self._flush_timer = self._loop.after(_PATIENCE, self._log.flush)

    def _cancel_flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
