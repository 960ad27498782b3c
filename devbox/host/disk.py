"""Directory trees on disk: usage, removal, and the identity of a directory, which is preserved by renames and moves."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from typing import Any

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO = 0x100
_STATX_BTIME = 0x800


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


class _Timestamp(ctypes.Structure):
    """struct statx_timestamp."""

    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("reserved", ctypes.c_int32))


class _Statx(ctypes.Structure):
    """struct statx of statx(2), up to the birth time; the rest is padding."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16),
        ("ino", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("blocks", ctypes.c_uint64),
        ("attributes_mask", ctypes.c_uint64),
        ("atime", _Timestamp),
        ("btime", _Timestamp),
        ("padding", ctypes.c_char * 256),
    )


def read_directory_identity(path: str) -> str:
    """Return the inode and nanosecond birth time of a directory: a reused inode is another directory.

    "" if the directory does not exist, or its file system does not record birth times. A copy has another identity, as
    has a directory moved to another file system.
    """
    facts, statx = _Statx(), _load_statx()
    if statx is None:
        return ""
    desired = _STATX_INO | _STATX_BTIME
    failed = statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, desired, ctypes.byref(facts))
    if failed or facts.mask & desired != desired:
        return ""
    return f"{facts.ino}:{facts.btime.seconds}.{facts.btime.nanoseconds:09d}"


@functools.cache
def _load_statx() -> Any:
    """Return the C library's statx(2); None if missing."""
    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
