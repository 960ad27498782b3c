"""The identity of a directory, which stays when it is renamed or moved within its file system."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO = 0x100
_STATX_BTIME = 0x800


class _Timestamp(ctypes.Structure):
    """struct statx_timestamp."""

    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("reserved", ctypes.c_int32))


class _Statx(ctypes.Structure):
    """struct statx of statx(2), up to the time of birth; the rest is padding."""

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


def read_identity(path: str) -> str:
    """The inode of a directory with the nanosecond it was created in: a reused inode is another directory.

    "" if there is no such directory, or its file system does not record when files were created. A copy has another
    identity; so has a directory that was moved to another file system.
    """
    facts, statx = _Statx(), _load_statx()
    if statx is None:
        return ""
    wanted = _STATX_INO | _STATX_BTIME
    failed = statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, wanted, ctypes.byref(facts))
    if failed or facts.mask & wanted != wanted:
        return ""
    return f"{facts.ino}:{facts.btime.seconds}.{facts.btime.nanoseconds:09d}"


@functools.cache
def _load_statx() -> Any:
    """The C library's statx(2); None in one that lacks it."""
    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
