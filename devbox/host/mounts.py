"""Mounts of a process, from its mountinfo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")


class MountInfo(NamedTuple):
    """A line of mountinfo: device, mounted directory in its file system, and mount point."""

    device: str
    root: str
    point: str


def list_mounts(process: str = "self") -> Iterator[MountInfo]:
    """Yield the mounts of a process, given by its pid, in the order of mounting. Raises OSError."""
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            words = line.split(" ", 5)
            yield MountInfo(words[2], _unescape(words[3]), _unescape(words[4]))


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
