"""Unpacked layers, and the places where new ones are prepared.

A snapshot lies at `snapshots/HEX/fs`, HEX being the digits of its diff id; `size` beside it says what it takes, once
somebody wanted to know. Both directories above it are closed to others: a snapshot holds set-uid programs of foreign
origin.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence

from devbox.errors import HostError
from devbox.host import files
from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.model.image import Layer

_SIZE = "size"
_DIGITS = 64  # of a diff id; what is called otherwise is not devbox's
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_TOPDIR_FL = 0x00020000


def get_snapshot_dir(paths: Paths, diff_id: str) -> str:
    """Where a layer is unpacked: the overlay lower."""
    return f"{paths.snapshots}/{_strip_algorithm(diff_id)}/fs"


def list_lowers(paths: Paths, layers: Sequence[Layer]) -> tuple[str, ...]:
    """The overlay lowers of a chain, topmost first. Of a layer that is there twice, the upper one hides the other."""
    return tuple(dict.fromkeys(get_snapshot_dir(paths, layer.diff_id) for layer in reversed(layers)))


def get_step_lock(paths: Paths, key: str) -> str:
    """The lock of whoever makes a step."""
    return paths.lock(f"step-{_strip_algorithm(key)}")


def create_workdir(paths: Paths, key: str) -> str:
    """A fresh directory to make a step in. Its name leads back to the step's lock."""
    import tempfile

    _set_topdir_flag(files.ensure_private_dir(paths.tmp, mode=0o700))
    return tempfile.mkdtemp(prefix=f"{_strip_algorithm(key)}-", dir=paths.tmp)


def list_abandoned(paths: Paths) -> list[str]:
    """Places whose maker is gone: nobody holds their step's lock. Old names of other kinds count, too."""
    try:
        names = os.listdir(paths.tmp)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        with files.lock_file(paths.lock(f"step-{name.partition('-')[0]}"), wait=False) as free:
            if free:
                found.append(f"{paths.tmp}/{name}")
    return found


def adopt(paths: Paths, prepared: str, diff_id: str) -> None:
    """Move a prepared snapshot into the store. One that is there already is the same by its name."""
    os.makedirs(paths.snapshots, mode=0o700, exist_ok=True)
    with contextlib.suppress(OSError):
        os.rename(prepared, os.path.dirname(get_snapshot_dir(paths, diff_id)))
    if not os.path.isdir(get_snapshot_dir(paths, diff_id)):
        raise HostError(f"could not move a snapshot into {paths.snapshots}", remedy=f"see: ls -ld {paths.snapshots}")


def list_snapshots(paths: Paths) -> list[str]:
    """The diff id of every snapshot there is."""
    with contextlib.suppress(FileNotFoundError):
        names = sorted(os.listdir(paths.snapshots))
        return [f"sha256:{name}" for name in names if len(name) == _DIGITS and name.isalnum()]
    return []


def measure_size(paths: Paths, diff_id: str) -> int:
    """Bytes that a snapshot takes on the disk. Measured once: it does not change, and has many files."""
    place = os.path.dirname(get_snapshot_dir(paths, diff_id))
    known = files.read_text(f"{place}/{_SIZE}") or ""
    if known.isdigit():
        return int(known)
    measured = measure_tree(place)
    with contextlib.suppress(OSError):  # removed meanwhile, or not ours: measured again then
        files.write_atomic(f"{place}/{_SIZE}", str(measured))
    return measured


def move_aside(paths: Paths, diff_id: str) -> str:
    """Take a snapshot out of the store at once; where it lies until its files are removed. A killed devbox's is swept.

    Removed in its place, it could be found half there.
    """
    files.ensure_private_dir(paths.tmp, mode=0o700)
    away = f"{paths.tmp}/{_strip_algorithm(diff_id)}-removed-{os.getpid()}"
    os.rename(os.path.dirname(get_snapshot_dir(paths, diff_id)), away)
    return away


def flush(path: str) -> None:
    """Have everything on this file system reach the disk, so that a record never outlives its data."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY)
    try:
        if libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs", path)
    finally:
        os.close(fd)


def _strip_algorithm(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _set_topdir_flag(path: str) -> str:
    """Tell ext4 that directories made here are unrelated: making many files after deleting many is ten times faster.

    Where the file system knows no such flag, nothing is lost.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            flags = int.from_bytes(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)), "little")
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, (flags | _FS_TOPDIR_FL).to_bytes(8, "little"))
    finally:
        os.close(fd)
    return path
