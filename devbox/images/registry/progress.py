"""How far a transfer is: bytes of all its blobs together, told to one watcher."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple


class Transfer(NamedTuple):
    """How far it is. Sizes in bytes; `total` grows while manifests are still being read."""

    text: str
    done: int
    total: int


OnTransfer = Callable[[Transfer], None]


class Meter:
    """Adds up what several threads move. `moved` is what went over the wire, `skipped` what was there already."""

    def __init__(self, text: str, watcher: OnTransfer) -> None:
        self._text = text
        self._watcher = watcher
        self._lock = threading.Lock()
        self._total = 0
        self.moved = 0
        self.skipped = 0

    def expect(self, size: int) -> None:
        """So much more is to be moved."""
        self._change(total=size)

    def move(self, size: int) -> None:
        """So much went over the wire; less than nothing when it has to go once more."""
        self._change(moved=size)

    def skip(self, size: int) -> None:
        """So much need not go over the wire."""
        self._change(skipped=size)

    def _change(self, *, total: int = 0, moved: int = 0, skipped: int = 0) -> None:
        with self._lock:
            self._total += total
            self.moved += moved
            self.skipped += skipped
            self._watcher(Transfer(self._text, self.moved + self.skipped, self._total))
