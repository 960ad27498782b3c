"""Look into an image without mounting it: files through its layers, as overlayfs would show them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

_MOST = 1 << 22  # characters that are read of a file
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def find(lowers: tuple[str, ...], path: str) -> str | None:
    """Where the image's file or directory `path` lies on the host, None when the image has none.

    `lowers` are its unpacked layers, topmost first. Symbolic links are not followed.
    """
    parts = [part for part in path.split("/") if part]
    for lower in lowers:
        end, hidden = _walk(lower, parts)
        if end is not None:
            return end
        if hidden:
            return None
    return None


def read(lowers: tuple[str, ...], path: str) -> str:
    """The text of a file of the image, at most 4 Mi characters; empty when it has none."""
    found = find(lowers, path)
    if found is None or not os.path.isfile(found) or os.path.islink(found):
        return ""
    with open(found, encoding="utf-8", errors="replace") as source:
        return source.read(_MOST)


def _walk(lower: str, parts: list[str]) -> tuple[str | None, bool]:
    """The path in this layer, or whether this layer hides what lower ones have there."""
    hidden = False
    for depth, place in enumerate(_descend(lower, parts), start=1):
        try:
            facts = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None, hidden
        if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
            return None, True
        if not stat.S_ISDIR(facts.st_mode):
            return (f"{lower}/{'/'.join(parts)}", True) if depth == len(parts) else (None, True)
        hidden = hidden or _is_opaque(place)
    return f"{lower}/{'/'.join(parts)}", hidden


def _descend(lower: str, parts: list[str]) -> Iterator[str]:
    for depth in range(1, len(parts) + 1):
        yield f"{lower}/{'/'.join(parts[:depth])}"


def _is_opaque(directory: str) -> bool:
    for name in _OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
    return False
