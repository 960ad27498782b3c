"""How much room things take on a disk."""

from __future__ import annotations

import contextlib
import os

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def measure_tree(path: str) -> int:
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


def get_free_space(path: str) -> int:
    """Bytes that may be written below a directory. The file system keeps a reserve: a twentieth, 1 GiB at most."""
    facts = os.statvfs(path)
    reserve = min(facts.f_blocks * facts.f_frsize // 20, 1 << 30)
    return max(0, facts.f_bavail * facts.f_frsize - reserve)


def format_size(size: float) -> str:
    """A size for a person: `1.4 GB`, `12 MB`, `800 bytes`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size / unit:.0f} {name}"
    return f"{size:.0f} bytes"


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Remove a directory and all in it. Takes two file descriptors and no stack, however deep it is.

    Symlinks are removed, never followed. Raises OSError as soon as something can't be removed.
    """
    top = os.open(path, _DIRECTORY)
    try:
        _empty_tree(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty_tree(top: int) -> None:
    """Directories that hold directories are taken apart: what they hold goes to the top, under names nobody foresaw."""
    mark, moved = os.urandom(8).hex(), 0
    while names := os.listdir(top):
        for name in names:
            if _try_remove(name, top):
                continue
            inner = os.open(name, _DIRECTORY, dir_fd=top)
            try:
                for below in os.listdir(inner):
                    if not _try_remove(below, inner):
                        os.rename(below, f"{mark}-{moved}", src_dir_fd=inner, dst_dir_fd=top)
                        moved += 1
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)


def _try_remove(name: str, at: int) -> bool:
    """Remove what can be removed at once; whether it could."""
    try:
        os.unlink(name, dir_fd=at)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=at)
        except OSError:
            return False
    return True
