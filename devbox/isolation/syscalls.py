"""Linux system calls that Python does not provide. Each raises OSError with the call's name and argument."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x10_0000

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = 0o2000000
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10

# Same numbers on every architecture: these calls are newer than the shared table.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_OPENAT2 = 437
_SYS_PIDFD_GETFD = 438
_SYS_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_inside(root: str, path: str, flags: int) -> int:
    """Open `path` as a process with the root `root` would: no symlink escapes. Return the descriptor."""
    place = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = _OpenHow(flags=flags | os.O_CLOEXEC, resolve=_RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        name = os.fsencode(path)
        return _check(_libc.syscall(_SYS_OPENAT2, place, name, ctypes.byref(how), ctypes.sizeof(how)), "openat2", path)
    finally:
        os.close(place)


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def setns(path: str) -> None:
    """Join the namespace at `path` (such as /proc/PID/ns/net)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, 0), "setns", path)
    finally:
        os.close(fd)


def mount(source: str | None, target: str, kind: str | None = None, *, flags: int = 0, options: str = "") -> None:
    """Mount a file system, or change the propagation of a mount."""
    result = _libc.mount(
        _encode(source), os.fsencode(target), _encode(kind), ctypes.c_ulong(flags), _encode(options or None)
    )
    _check(result, f"mount {kind or ''}".rstrip(), target)


def detach(target: str) -> None:
    """Unmount lazily."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), "umount2", target)


def clone_mount(source: str, *, recursive: bool) -> int:
    """Return a descriptor of a detached copy of the mount at `source`."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags), "open_tree", source)


def set_mount_attributes(tree: int, attributes: int, *, userns: int = 0, recursive: bool) -> None:
    """Set attributes of a detached mount; with MOUNT_ATTR_IDMAP also the id map of a user namespace (a descriptor)."""
    request = _MountAttr(attr_set=attributes, userns_fd=userns)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    result = _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", flags, ctypes.byref(request), ctypes.sizeof(request))
    _check(result, "mount_setattr")


def attach_mount(tree: int, target: str) -> None:
    """Attach a detached mount at `target`."""
    result = _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _check(result, "move_mount", target)


def sync_filesystem(path: str) -> None:
    """Flush the file system of `path` to disk, and wait."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(fd), "syncfs", path)
    finally:
        os.close(fd)


def copy_descriptor(pidfd: int, number: int) -> int:
    """Copy another process's descriptor `number`, close-on-exec. Requires permission to trace that process."""
    return _check(_libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0), "pidfd_getfd", str(number))


def prctl(option: int, value: int) -> None:
    """Set a numeric property of this process."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def _encode(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _check(result: int, call: str, path: str | None = None) -> int:
    """Return a call's result, or raise its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", path)
    return result
