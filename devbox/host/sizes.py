"""How much room things take on a disk."""

from __future__ import annotations

import contextlib
import os

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def tree_size(path: str) -> int:
    """Bytes that a file or a tree takes on the disk. What this user may not look into does not count."""
    total, waiting = 0, [path]
    with contextlib.suppress(OSError):
        total += os.lstat(path).st_blocks * 512
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def room(path: str) -> int:
    """Bytes that may be written below a directory. The file system keeps a reserve: a twentieth, 1 GiB at most."""
    facts = os.statvfs(path)
    reserve = min(facts.f_blocks * facts.f_frsize // 20, 1 << 30)
    return max(0, facts.f_bavail * facts.f_frsize - reserve)


def shown(size: float) -> str:
    """A size for a person: `1.4 GB`, `12 MB`, `800 bytes`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size / unit:.0f} {name}"
    return f"{size:.0f} bytes"
