"""Directory trees on disk: usage, removal, and the identity of a directory, which is preserved by renames and moves."""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from typing import Any

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO = 0x100
_STATX_BTIME = 0x800
_STATX = struct.Struct("=I28xQ40xqI164x")  # stx_mask, stx_ino and stx_btime of struct statx


def measure_tree(path: str) -> int:
    """Return the disk usage of a file or tree in bytes, ignoring directories that this user cannot read."""
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
    """Return the bytes available below a directory, minus a reserve: a twentieth of the file system, at most 1 GiB."""
    facts = os.statvfs(path)
    reserve = min(facts.f_blocks * facts.f_frsize // 20, 1 << 30)
    return max(0, facts.f_bavail * facts.f_frsize - reserve)


def format_size(size: float) -> str:
    """Format a size for users: `1.4 GB`, `12 MB`, `800 bytes`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size / unit:.0f} {name}"
    return f"{size:.0f} bytes"


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Remove a directory tree of any depth, with two file descriptors and no recursion.

    Symlinks are removed, never followed. Raises OSError at the first entry that cannot be removed.
    """
    top = os.open(path, _DIRECTORY)
    try:
        _empty_tree(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty_tree(top: int) -> None:
    """Empty a directory: nested entries are moved to the top under unpredictable names until none is left."""
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
    """Remove a file or empty directory; return whether that succeeded."""
    try:
        os.unlink(name, dir_fd=at)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=at)
        except OSError:
            return False
    return True


def read_directory_identity(path: str) -> str:
    """Return the inode and nanosecond birth time of a directory: a reused inode is another directory.

    "" if the directory does not exist, or its file system does not record birth times. A copy has another identity, as
    has a directory moved to another file system.
    """
    import ctypes

    if (statx := _load_statx()) is None:
        return ""
    facts, fields = ctypes.create_string_buffer(_STATX.size), _STATX_INO | _STATX_BTIME
    failed = statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, fields, facts)
    mask, inode, seconds, nanoseconds = _STATX.unpack(facts)
    return "" if failed or mask & fields != fields else f"{inode}:{seconds}.{nanoseconds:09d}"


@functools.cache
def _load_statx() -> Any:
    """Return the C library's statx(2); None if missing."""
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
