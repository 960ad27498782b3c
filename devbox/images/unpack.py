"""A layer's tar into a snapshot directory. The tar is hostile until proven otherwise.

The work happens in a forked child whose root *is* the snapshot directory: no name, link or `..` in the tar can reach
out of it. Device nodes are never made. The child needs the rights of the store's root (its user namespace's, for an
ordinary user).
"""

from __future__ import annotations

import os
import stat
import tarfile
from typing import IO

from devbox.errors import BakeFailed, EngineError
from devbox.images import fscaps, layer
from devbox.isolation import forks

OPAQUE_ROOT = "trusted.overlay.opaque"
OPAQUE_ROOTLESS = "user.overlay.opaque"
MAX_ID = 65535  # what a store's id map covers
_XATTR_PREFIX = "SCHILY.xattr."


def unpack(tar_path: str, target: str, *, rootless: bool) -> None:
    """Unpack a plain tar into the empty directory `target`. Raises BakeFailed naming the entry that can't be kept."""
    with open(tar_path, "rb") as source:

        def work() -> None:
            os.chroot(target)
            os.chdir("/")
            os.umask(0o022)  # for the directories that no entry describes
            _Unpacker(OPAQUE_ROOTLESS if rootless else OPAQUE_ROOT).run(source)

        try:
            forks.inside(work)
        except EngineError as error:
            raise BakeFailed(f"could not unpack {os.path.basename(tar_path)}: {error.sentence}") from None


class _Unpacker:
    """Works in `/`, which is the snapshot."""

    def __init__(self, opaque_xattr: str) -> None:
        self._opaque = opaque_xattr
        self._directories: list[tarfile.TarInfo] = []

    def run(self, source: IO[bytes]) -> None:
        with tarfile.open(fileobj=source, mode="r:", errorlevel=2) as archive:
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
                self._place(source, entry)
        for directory in reversed(self._directories):
            _own(directory.name, directory)
            os.utime(directory.name, (directory.mtime, directory.mtime))

    def _place(self, source: IO[bytes], entry: tarfile.TarInfo) -> None:
        entry.name = _inside(entry.name)
        _check(entry)
        head, name = os.path.split(entry.name)
        if name == layer.OPAQUE:
            _make_parents(head)
            os.setxattr(head, self._opaque, b"y")
        elif name.startswith(layer.WHITEOUT):
            _whiteout(head, name)
        elif entry.isdir():
            self._directory(entry)
        elif entry.isreg() or entry.islnk() or entry.issym() or entry.isfifo():
            _make_parents(head)
            _clear(entry.name)
            _make(source, entry)

    def _directory(self, entry: tarfile.TarInfo) -> None:
        if entry.name != "/":
            _make_parents(os.path.dirname(entry.name))
            if not _is_directory(entry.name):
                _clear(entry.name)
                os.mkdir(entry.name, 0o700)
        self._directories.append(entry)


def _make(source: IO[bytes], entry: tarfile.TarInfo) -> None:
    path = entry.name
    if entry.islnk():
        os.link(_inside(entry.linkname), path, follow_symlinks=False)
        return
    if entry.issym():
        os.symlink(entry.linkname, path)
        os.lchown(path, entry.uid, entry.gid)
    elif entry.isfifo():
        os.mkfifo(path)
        _own(path, entry)
    else:
        _write(source, entry)
    os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)


def _write(source: IO[bytes], entry: tarfile.TarInfo) -> None:
    fd = os.open(entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb", buffering=0) as out:
        source.seek(entry.offset_data)
        left = entry.size
        while left:
            chunk = source.read(min(left, layer.CHUNK))
            if not chunk:
                raise BakeFailed(f"the layer ends inside {entry.name}")
            out.write(chunk)
            left -= len(chunk)
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, stat.S_IMODE(entry.mode))
        for key, value in entry.pax_headers.items():
            name = key.removeprefix(_XATTR_PREFIX)
            if name != key and fscaps.portable(name):
                os.setxattr(fd, name, value.encode("utf-8", "surrogateescape"))


def _own(path: str, entry: tarfile.TarInfo) -> None:
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    os.chmod(path, stat.S_IMODE(entry.mode))


def _inside(name: str) -> str:
    """An entry's name as an absolute path of the snapshot. `..` is refused; a leading slash means nothing."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BakeFailed(f"the layer holds the path {name!r}, which leads out of the image")
    return "/" + "/".join(parts)


def _check(entry: tarfile.TarInfo) -> None:
    if entry.issparse():
        raise BakeFailed(f"{entry.name} is stored as a sparse file, which layers may not hold")
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        raise BakeFailed(f"{entry.name} belongs to {entry.uid}:{entry.gid}; images may use ids up to {MAX_ID}")
    entry.mtime = max(0, min(int(entry.mtime), 2**33))


def _whiteout(head: str, name: str) -> None:
    hidden = name.removeprefix(layer.WHITEOUT)
    if hidden in ("", ".", "..") or hidden.startswith(layer.WHITEOUT):
        return  # other bookkeeping of AUFS, which hides nothing
    _make_parents(head)
    path = f"{head.rstrip('/')}/{hidden}"
    _clear(path)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def _make_parents(head: str) -> None:
    if not os.path.isdir(head):
        os.makedirs(head, 0o755)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _clear(path: str) -> None:
    """Make room: the last entry of a name wins. A directory gives way only when it is empty."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        os.rmdir(path)
