"""Unpacked layers, and the work directories for new ones.

A snapshot is in `snapshots/HEX/fs`, where HEX are the digits of its diff id; `size` next to it caches its disk usage.
Both parent directories are closed to other users: a snapshot contains foreign set-uid programs.
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
_DIGITS = 64  # of a diff id; other names are not devbox's
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_TOPDIR_FL = 0x00020000


def get_snapshot_dir(paths: Paths, diff_id: str) -> str:
    """Return the directory of an unpacked layer, used as overlay lowerdir."""
    return f"{paths.snapshots}/{_strip_algorithm(diff_id)}/fs"


def list_lowers(paths: Paths, layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the overlay lowerdirs of a chain, topmost first. Of duplicate layers only the upper one counts."""
    return tuple(dict.fromkeys(get_snapshot_dir(paths, layer.diff_id) for layer in reversed(layers)))


def get_step_lock(paths: Paths, key: str) -> str:
    """Return the lock of a step's builder."""
    return paths.lock(f"step-{_strip_algorithm(key)}")


def create_workdir(paths: Paths, key: str) -> str:
    """Create a work directory for a step. Its name contains the name of the step's lock."""
    import tempfile

    _set_topdir_flag(files.ensure_private_dir(paths.tmp, mode=0o700))
    return tempfile.mkdtemp(prefix=f"{_strip_algorithm(key)}-", dir=paths.tmp)


def list_abandoned(paths: Paths) -> list[str]:
    """Return work directories whose step lock is free, including those with legacy names."""
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
    """Move a prepared snapshot into the store. An existing one of the same name is identical."""
    os.makedirs(paths.snapshots, mode=0o700, exist_ok=True)
    with contextlib.suppress(OSError):
        os.rename(prepared, os.path.dirname(get_snapshot_dir(paths, diff_id)))
    if not os.path.isdir(get_snapshot_dir(paths, diff_id)):
        raise HostError(
            f"cannot move a snapshot to {paths.snapshots}", remedy=f"check the permissions: ls -ld {paths.snapshots}"
        )


def list_snapshots(paths: Paths) -> list[str]:
    """Return the diff ids of all snapshots."""
    with contextlib.suppress(FileNotFoundError):
        names = sorted(os.listdir(paths.snapshots))
        return [f"sha256:{name}" for name in names if len(name) == _DIGITS and name.isalnum()]
    return []


def measure_size(paths: Paths, diff_id: str) -> int:
    """Return a snapshot's disk usage in bytes. Cached: it is constant, and has many files."""
    place = os.path.dirname(get_snapshot_dir(paths, diff_id))
    known = files.read_text(f"{place}/{_SIZE}") or ""
    if known.isdigit():
        return int(known)
    measured = measure_tree(place)
    with contextlib.suppress(OSError):  # removed meanwhile, or not writable: measured again next time
        files.write_atomic(f"{place}/{_SIZE}", str(measured))
    return measured


def move_aside(paths: Paths, diff_id: str) -> str:
    """Move a snapshot out of the store atomically; return its new path, which `sweep` covers after a kill.

    Removal in place would expose a partial snapshot.
    """
    files.ensure_private_dir(paths.tmp, mode=0o700)
    aside = f"{paths.tmp}/{_strip_algorithm(diff_id)}-removed-{os.getpid()}"
    os.rename(os.path.dirname(get_snapshot_dir(paths, diff_id)), aside)
    return aside


def flush(path: str) -> None:
    """Sync the file system of `path`, so that a record never outlives its data."""
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
    """Hint ext4 to spread subdirectories: creating many files after deleting many is ten times faster.

    Ignored on other file systems.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            flags = int.from_bytes(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)), "little")
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, (flags | _FS_TOPDIR_FL).to_bytes(8, "little"))
    finally:
        os.close(fd)
    return path
