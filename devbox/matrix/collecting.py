"""Files that a cell wrote, copied to where they stay. What lies in a cell is hostile: no link of it is followed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator

from devbox.images.build.patterns import expression

_LARGEST = 1 << 28  # bytes of one file
_MOST = 1000  # files of one cell
_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def collect(source: str, patterns: Iterable[str], target: str) -> tuple[str, ...]:
    """Copy the regular files below `source` that the patterns name to the same paths below `target`; the copies."""
    wanted = [re.compile(expression(os.path.normpath(pattern)), re.DOTALL) for pattern in patterns]
    if not wanted or not os.path.isdir(source):
        return ()
    found: list[str] = []
    top = os.open(source, _DIRECTORY)
    try:
        for path, directory, name in _below(top, ""):
            if len(found) < _MOST and any(pattern.fullmatch(path) for pattern in wanted):
                copy = f"{target}/{path}"
                if _copied(name, directory, copy):
                    found.append(copy)
    finally:
        os.close(top)
    return tuple(sorted(found))


def _below(directory: int, prefix: str) -> Iterator[tuple[str, int, str]]:
    """Path, descriptor of its directory and name of each file below, links and special files included."""
    for name in sorted(os.listdir(directory)):
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
        except OSError:  # no directory, or one that this user may not look into
            yield f"{prefix}{name}", directory, name
            continue
        try:
            yield from _below(inner, f"{prefix}{name}/")
        finally:
            os.close(inner)


def _copied(name: str, directory: int, target: str) -> bool:
    """Copy a regular file that is not too large; whether it was one."""
    try:
        source = os.open(name, _FILE, dir_fd=directory)
    except OSError:
        return False
    with open(source, "rb") as data:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LARGEST:
            return False
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as copy:
            left = facts.st_size
            while left > 0 and (piece := data.read(min(left, _PIECE))):  # of one that grows, what it had
                left -= len(piece)
                copy.write(piece)
    return True
