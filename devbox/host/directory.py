"""The identity of a directory, which is preserved by renames and moves within its file system."""

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


def read_identity(path: str) -> str:
    """Return the inode and nanosecond birth time of a directory: a reused inode is another directory.

    "" if the directory does not exist, or its file system does not record birth times. A copy has another identity, as
    has a directory moved to another file system.
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
    """Return the C library's statx(2); None if missing."""
    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
