"""What is written down of a cell while it runs: what it prints, and how long it was in which phase."""

from __future__ import annotations

import contextlib
import os
import time
from typing import IO


class Clock:
    """How long a cell was in which phase."""

    def __init__(self) -> None:
        self.phase = ""
        self.phases: dict[str, float] = {}
        self._since = 0.0

    def go(self, phase: str) -> None:
        """A phase begins, and the one before it ends."""
        self.stop()
        self.phase, self._since = phase, time.monotonic()

    def stop(self) -> None:
        """The phase ends."""
        if self.phase:
            self.phases[self.phase] = self.phases.get(self.phase, 0.0) + time.monotonic() - self._since
        self.phase = ""


class CellLog:
    """A cell's log. Where it can't be written, the tests go on without."""

    def __init__(self, path: str) -> None:
        self._to: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            self._to = open(path, "wb", buffering=0)  # noqa: SIM115 - closed below

    def write(self, line: str) -> None:
        """Add a line."""
        if self._to is not None:
            try:
                self._to.write(f"{line}\n".encode(errors="replace"))
            except OSError:
                self.close()

    def close(self) -> None:
        """Nothing more is written."""
        if self._to is not None:
            self._to.close()
        self._to = None
