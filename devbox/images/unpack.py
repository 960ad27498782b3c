"""A layer into a snapshot directory. The layer is hostile until proven otherwise.

The work happens in a forked child whose root *is* the snapshot directory: no name, link or `..` in the tar can reach
out of it. Device nodes are never made. The child needs the rights of the store's root (its user namespace's, for an
ordinary user). A layer is unpacked by itself, whatever lies below it (docs/adr/0011-layers-by-themselves.md).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tarfile
from collections.abc import Callable

from devbox.errors import BakeFailed, DevboxError, EngineError
from devbox.host import trouble
from devbox.images import fscaps, layer
from devbox.images.tarstream import CHUNK, TarStream
from devbox.isolation import forks
from devbox.model.image import Layer

OPAQUE_ROOT = "trusted.overlay.opaque"
OPAQUE_ROOTLESS = "user.overlay.opaque"
MAX_ID = 65535  # what a store's id map covers
_LATEST = 2**33  # seconds: what file systems can hold
_XATTR_PREFIX = "SCHILY.xattr."
_MOST_SHOWN = 100
_ANOTHER = "take another version of the image, or tell who made it"
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def unpack(path: str, target: str, *, rootless: bool, promised: Layer | None = None) -> None:
    """Unpack a layer's blob, plain or packed, into the empty directory `target`.

    `promised`: what the blob's size, digest and diff id must be; None for a tar that this process has just written.
    Raises BakeFailed saying what is wrong; what `target` holds then is of no use.
    """
    with open(path, "rb") as blob:

        def work() -> None:
            stream = TarStream(blob, promised)
            os.chroot(target)
            os.chdir("/")
            os.umask(0o022)  # for the directories that no entry describes
            sys.meta_path.clear()  # from here on Python would look for modules among the layer's files
            _Unpacker(stream, OPAQUE_ROOTLESS if rootless else OPAQUE_ROOT).run()

        try:
            forks.inside(work)
        except EngineError as error:
            sentence = f"could not unpack {os.path.basename(path)}: {error.sentence}"
            raise BakeFailed(sentence, details=error.details, remedy=error.remedy or _ANOTHER) from None


class _Unpacker:
    """Works in `/`, which is the snapshot."""

    def __init__(self, stream: TarStream, opaque_xattr: str) -> None:
        self._stream = stream
        self._opaque = opaque_xattr
        self._times: dict[str, int] = {}  # of directories: what is made in them later would change theirs
        self._there = ""  # a directory that is certainly there: most entries lie in that of the one before

    def run(self) -> None:
        for entry in self._stream.entries():
            shown = _shown(entry.name)
            try:
                self._place(entry)
            except OSError as error:
                raise _refused(error, shown) from None
            except ValueError:  # a zero byte in a name
                raise BakeFailed(f"the layer holds a name that no file can have: {shown}") from None
        self._stream.finish()
        for path, moment in self._times.items():
            if _is_directory(path):
                os.utime(path, (moment, moment))

    def _place(self, entry: tarfile.TarInfo) -> None:
        entry.name = _inside(entry.name)
        _check(entry)
        head, name = os.path.split(entry.name)
        if name == layer.OPAQUE:
            self._directories(head)
            os.setxattr(head, self._opaque, b"y")
        elif name.startswith(layer.WHITEOUT):
            self._whiteout(head, name)
        elif entry.isdir():
            self._directory(entry)
        elif make := self._maker(entry):
            self._directories(head)
            try:
                make(entry)
            except FileExistsError:
                self._make_room(entry.name)
                make(entry)

    def _whiteout(self, head: str, name: str) -> None:
        """Hide a name of the layers below, not of this one, whichever comes first."""
        hidden = name.removeprefix(layer.WHITEOUT)
        if hidden in ("", ".", "..") or hidden.startswith(layer.WHITEOUT):
            return  # other bookkeeping of AUFS, which hides nothing
        self._directories(head)
        path = f"{head.rstrip('/')}/{hidden}"
        if _is_directory(path):
            os.setxattr(path, self._opaque, b"y")
        elif not os.path.lexists(path):
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))

    def _directories(self, path: str) -> None:
        """Have `path` and all above it be directories. A symlink of this layer is followed: its `/` is the snapshot."""
        if path == self._there:
            return
        if not os.path.isdir(path):
            above = ""
            for part in path.split("/")[1:]:
                above = f"{above}/{part}"
                if not os.path.isdir(above):
                    self._new_directory(above, 0o755)
        self._there = path

    def _make_room(self, path: str) -> None:
        self._there = ""  # it may be, or lead through, what goes
        _clear(path)

    def _new_directory(self, path: str, mode: int) -> None:
        """Where a whiteout stood the directory shows nothing of the layers below."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not _is_whiteout(path):
                raise
            os.unlink(path)
            os.mkdir(path, mode)
            os.setxattr(path, self._opaque, b"y")

    def _maker(self, entry: tarfile.TarInfo) -> Callable[[tarfile.TarInfo], None] | None:
        """What makes an entry of this kind; None for devices and kinds nobody knows, which are left out."""
        if entry.isreg():
            return self._file
        return {tarfile.LNKTYPE: _link, tarfile.SYMTYPE: _symlink, tarfile.FIFOTYPE: _fifo}.get(entry.type)

    def _directory(self, entry: tarfile.TarInfo) -> None:
        path = entry.name
        self._directories(os.path.dirname(path))
        if not _is_directory(path):
            if not _is_whiteout(path):
                self._make_room(path)
            self._new_directory(path, 0o700)
        _own(path, entry)
        self._times[path] = int(entry.mtime)

    def _file(self, entry: tarfile.TarInfo) -> None:
        fd = os.open(entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            left = entry.size
            while left:
                chunk = self._stream.content(min(left, CHUNK))
                if not chunk:
                    raise BakeFailed(f"the layer ends inside {_shown(entry.name)}")
                _write(fd, chunk)
                left -= len(chunk)
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            _set_attributes(fd, entry)
            os.utime(fd, (entry.mtime, entry.mtime))
        finally:
            os.close(fd)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _set_attributes(fd: int, entry: tarfile.TarInfo) -> None:
    for key, value in entry.pax_headers.items():
        name = key.removeprefix(_XATTR_PREFIX)
        if name != key and fscaps.portable(name):
            try:
                os.setxattr(fd, name, value.encode("utf-8", "surrogateescape"))
            except OSError as error:
                about = f"the attribute {_shown(name)} of {_shown(entry.name)}"
                raise BakeFailed(f"{about} can't be kept: {error.strerror}") from None


def _link(entry: tarfile.TarInfo) -> None:
    first = _inside(entry.linkname)
    try:
        os.link(first, entry.name, follow_symlinks=False)
    except FileNotFoundError:
        raise BakeFailed(f"{_shown(entry.name)} is a hard link to {_shown(first)}, which the layer lacks") from None


def _symlink(entry: tarfile.TarInfo) -> None:
    os.symlink(entry.linkname, entry.name)
    os.lchown(entry.name, entry.uid, entry.gid)
    os.utime(entry.name, (entry.mtime, entry.mtime), follow_symlinks=False)


def _fifo(entry: tarfile.TarInfo) -> None:
    os.mkfifo(entry.name)
    _own(entry.name, entry)
    os.utime(entry.name, (entry.mtime, entry.mtime))


def _own(path: str, entry: tarfile.TarInfo) -> None:
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    os.chmod(path, entry.mode)


def _inside(name: str) -> str:
    """An entry's name as an absolute path of the snapshot. `..` is refused; a leading slash means nothing."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BakeFailed(f"the layer holds the path {_shown(name)}, which leads out of the image")
    if len(parts) > layer.MAX_DEPTH:
        raise BakeFailed(f"{_shown(name)} lies more than {layer.MAX_DEPTH} directories deep")
    return "/" + "/".join(parts)


def _check(entry: tarfile.TarInfo) -> None:
    """Refuse what can't be kept, and bring the rest into the range of what a file system holds."""
    if entry.issparse():
        raise BakeFailed(f"{_shown(entry.name)} is stored as a sparse file, which layers may not hold")
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        owner = f"{entry.uid}:{entry.gid}"[:60]
        raise BakeFailed(f"{_shown(entry.name)} belongs to {owner}; images may use ids up to {MAX_ID}")
    if entry.size < 0:
        raise BakeFailed(f"{_shown(entry.name)} has a negative size")
    entry.mtime = int(max(0, min(entry.mtime, _LATEST)))  # in this order NaN becomes 0
    entry.mode &= 0o7777


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_whiteout(path: str) -> bool:
    return os.path.lexists(path) and stat.S_ISCHR(os.lstat(path).st_mode)


def _clear(path: str) -> None:
    """Make room: the last entry of a name wins. A directory gives way only when it is empty."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        os.rmdir(path)


def _refused(error: OSError, shown: str) -> DevboxError:
    """What the system would not do: the machine's fault, or the entry's."""
    known = trouble.of_the_machine(OSError(error.errno, error.strerror)) if error.errno in _OF_THE_MACHINE else None
    return known or BakeFailed(f"the layer's entry {shown} can't be made: {error.strerror}")


def _shown(name: str) -> str:
    """A name for a sentence: whatever it holds, it moves no cursor and fills no screen."""
    return repr(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…")
