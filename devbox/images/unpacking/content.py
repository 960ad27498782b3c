"""Where the content of a layer's files comes from."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from devbox.images.unpacking.item import Item

_CHUNK = 1 << 20
_MOST = 1 << 30  # bytes asked of the kernel at once


class Content(Protocol):
    """What can write an item's content into a new file."""

    def copy(self, item: Item, fd: int) -> None:
        """All of it; EOFError where there is less."""


class InTar:
    """The tar lies in a file: the kernel copies, and no byte of it passes through Python."""

    def __init__(self, tar: int) -> None:
        self._tar = tar

    def copy(self, item: Item, fd: int) -> None:
        """As Content's."""
        offset, left = item.offset, item.size
        while left:
            count = os.sendfile(fd, self._tar, offset, min(left, _MOST))
            if not count:
                raise EOFError
            offset += count
            left -= count


class Sent:
    """Each item is followed by its content."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._buffer = memoryview(bytearray(_CHUNK))

    def copy(self, item: Item, fd: int) -> None:
        """As Content's."""
        left = item.size
        while left:
            chunk = self._buffer[: self._source.readinto(self._buffer[:left])]  # type: ignore[attr-defined]
            if not chunk:
                raise EOFError
            _write(fd, chunk)
            left -= len(chunk)


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
