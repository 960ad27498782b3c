"""Creation of a layer's files, chrooted into the snapshot.

A device node is created as by Docker: visible in a container but inaccessible, since every mount of a snapshot is
`nodev`. On the host only root can enter the store. In a user namespace (an ordinary user's store, or devbox in a
container) the kernel does not permit it: nodes are then left out, as by rootless Docker. Nodes below `/dev` are always
left out: containers do not see them, and a program that copies or searches a store would open the console.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import BinaryIO, Protocol

from devbox.errors import BakeFailed, DevboxError
from devbox.host import os_errors
from devbox.images.layers import entry as items
from devbox.images.layers.entry import LayerItem, format_name

_CHUNK = 1 << 20
_MOST = 1 << 30  # bytes per request to the kernel


class ContentSource(Protocol):
    """Writes an item's content into a new file."""

    def copy(self, item: LayerItem, fd: int) -> None:
        """Copy the complete content; raise EOFError if it is too short."""


class TarFileSource:
    """Content from a tar file: copied by the kernel, bypassing Python."""

    def __init__(self, tar: int) -> None:
        self._tar = tar

    def copy(self, item: LayerItem, fd: int) -> None:
        """See `ContentSource`."""
        offset, left = item.offset, item.size
        while left:
            count = os.sendfile(fd, self._tar, offset, min(left, _MOST))
            if not count:
                raise EOFError
            offset += count
            left -= count


class PipeSource:
    """Content from a pipe, following each item."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._buffer = memoryview(bytearray(_CHUNK))

    def copy(self, item: LayerItem, fd: int) -> None:
        """See `ContentSource`."""
        left = item.size
        while left:
            chunk = self._buffer[: self._source.readinto(self._buffer[:left])]  # type: ignore[attr-defined]
            if not chunk:
                raise EOFError
            _write_all(fd, chunk)
            left -= len(chunk)


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


OPAQUE_ROOT = "trusted.overlay.opaque"
OPAQUE_ROOTLESS = "user.overlay.opaque"
_COVERED = "/dev/"  # each container has its own
_PERMISSIONS = 0o777
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class LayerMaker:
    """Creates a layer's items in order."""

    def __init__(self, content: ContentSource, *, rootless: bool) -> None:
        # Files get their exact modes on creation, unaffected by umask and default ACLs.
        os.umask(0)
        with contextlib.suppress(OSError):
            os.removexattr("/", "system.posix_acl_default")
        self._opaque = OPAQUE_ROOTLESS if rootless else OPAQUE_ROOT
        self._times: dict[str, int] = {}  # mtimes of directories, set last: creating entries would change them
        self._parent = "/"  # a directory known to exist: most items are in the previous one's
        self._content = content
        self._left_out: dict[str, LayerItem] = {}  # devices that were left out, by path

    def make(self, item: LayerItem) -> None:
        """Create an item. Raises the system's error; EOFError if a file's content is too short."""
        try:
            self._make_item(item)
        except OSError as error:
            raise _build_error(error, item.path) from None
        except ValueError:  # a NUL byte in a name
            raise BakeFailed(f"invalid file name in the layer: {format_name(item.path)}") from None

    def finish(self) -> None:
        """Set the times of directories."""
        for path, moment in self._times.items():
            if _is_directory(path):
                os.utime(path, (moment, moment))

    def _make_item(self, item: LayerItem) -> None:
        match item.kind:
            case items.OPAQUE:
                self._make_directories(item.path)
                os.setxattr(item.path, self._opaque, b"y")
            case items.DIRECTORY:
                self._make_directory(item)
            case items.WHITEOUT:
                self._make_directories(os.path.dirname(item.path))
                self._make_whiteout(item.path)
            case _:
                self._make_directories(os.path.dirname(item.path))
                try:
                    self._make_new(item)
                except FileExistsError:
                    self._make_room(item.path)
                    self._make_new(item)

    def _make_new(self, item: LayerItem) -> None:
        """Create an item other than a directory; raise FileExistsError before reading any content."""
        match item.kind:
            case items.FILE:
                self._make_file(item)
            case items.SYMLINK:
                os.symlink(item.target, item.path)
                os.lchown(item.path, item.uid, item.gid)
                os.utime(item.path, (item.mtime, item.mtime), follow_symlinks=False)
            case items.HARDLINK:
                self._make_link(item)
            case items.CHARACTER | items.BLOCK:
                self._make_node(item)
            case items.FIFO:
                os.mkfifo(item.path, 0o600)
                _set_owner(item)
                os.utime(item.path, (item.mtime, item.mtime))

    def _make_link(self, item: LayerItem) -> None:
        device = self._left_out.get(_resolve_parent(item.target)) if self._left_out else None
        if device and not os.path.lexists(item.target):
            self._make_node(item._replace(kind=device.kind, device=device.device))
            return
        try:
            os.link(item.target, item.path, follow_symlinks=False)
        except FileNotFoundError:
            about = f"{format_name(item.path)} is a hard link to {format_name(item.target)}"
            raise BakeFailed(f"{about}, which is missing from the layer") from None
        if _is_device(item.path) and _is_covered(item.path):
            facts = os.lstat(item.path)
            os.unlink(item.path)
            kind = items.CHARACTER if stat.S_ISCHR(facts.st_mode) else items.BLOCK
            self._left_out[_resolve_parent(item.path)] = item._replace(kind=kind, device=facts.st_rdev)
            return
        _update_linked_file(item)

    def _make_node(self, item: LayerItem) -> None:
        kind = stat.S_IFCHR if item.kind == items.CHARACTER else stat.S_IFBLK
        if _is_covered(item.path) or not _try_mknod(item.path, kind, item.device):
            self._left_out[_resolve_parent(item.path)] = item
            return
        _set_owner(item)
        os.utime(item.path, (item.mtime, item.mtime))

    def _make_whiteout(self, path: str) -> None:
        """Hide a name of the layers below, but not of this layer, in any order of entries."""
        if _is_directory(path):
            os.setxattr(path, self._opaque, b"y")
        elif not os.path.lexists(path):
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))

    def _make_directories(self, path: str) -> None:
        """Ensure that `path` and its parents are directories, following this layer's symlinks within the snapshot."""
        if path == self._parent:
            return
        if not os.path.isdir(path):
            above = ""
            for part in path.split("/")[1:]:
                above = f"{above}/{part}"
                if not os.path.isdir(above):
                    self._create_directory(above, 0o755)
        self._parent = path

    def _make_room(self, path: str) -> None:
        self._parent = "/"  # it may be, or lead through, the removed path
        _clear_path(path)

    def _create_directory(self, path: str, mode: int) -> None:
        """Create a directory; in place of a whiteout it hides the content of layers below."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not _is_whiteout(path):
                raise
            os.unlink(path)
            os.mkdir(path, mode)
            os.setxattr(path, self._opaque, b"y")

    def _make_directory(self, item: LayerItem) -> None:
        path = item.path
        self._make_directories(os.path.dirname(path))
        if not _is_directory(path):
            if not _is_whiteout(path):
                self._make_room(path)
            self._create_directory(path, 0o700)
        _set_owner(item)
        for name, value in item.attributes.items():
            _set_attribute(path, name, value, path)
        self._times[path] = item.mtime

    def _make_file(self, item: LayerItem) -> None:
        fd = os.open(item.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, item.mode & _PERMISSIONS)
        try:
            if item.size:
                self._content.copy(item, fd)
            os.fchown(fd, item.uid, item.gid)
            if item.mode > _PERMISSIONS:  # chown clears these bits
                os.fchmod(fd, item.mode)
            for name, value in item.attributes.items():
                _set_attribute(fd, name, value, item.path)
            os.utime(fd, (item.mtime, item.mtime))
        finally:
            os.close(fd)


def _resolve_parent(path: str) -> str:
    """Resolve the parent directory of a path, which may contain links of this layer."""
    head, name = os.path.split(path)
    return os.path.join(os.path.realpath(head), name)


def _is_covered(path: str) -> bool:
    return _resolve_parent(path).startswith(_COVERED)


def _is_device(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _try_mknod(path: str, kind: int, device: int) -> bool:
    """Create a device node without permissions; return False if not permitted."""
    try:
        os.mknod(path, kind, device)
    except PermissionError:
        return False
    return True


def _set_attribute(fd: int | str, name: str, value: bytes, path: str) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        raise BakeFailed(
            f"cannot set the attribute {format_name(name)} of {format_name(path)}: {error.strerror}"
        ) from None


def _update_linked_file(item: LayerItem) -> None:
    """Apply a hard link's entry to its file, as in Docker: the last entry of a file takes precedence.

    A link's entry without the file's capabilities therefore removes them.
    """
    if os.path.islink(item.path):
        return
    _set_owner(item)
    for name, value in item.attributes.items():
        _set_attribute(item.path, name, value, item.path)
    os.utime(item.path, (item.mtime, item.mtime))


def _set_owner(item: LayerItem) -> None:
    os.chown(item.path, item.uid, item.gid, follow_symlinks=False)
    os.chmod(item.path, item.mode)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_whiteout(path: str) -> bool:
    try:
        facts = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0


def _clear_path(path: str) -> None:
    """Remove an earlier entry: the last one of a name wins. A directory is removed only if empty."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        os.rmdir(path)


def _build_error(error: OSError, path: str) -> DevboxError:
    """Return the error of a failed operation: the host's fault, or the entry's."""
    known = os_errors.from_os_error(OSError(error.errno, error.strerror)) if error.errno in _OF_THE_MACHINE else None
    return known or BakeFailed(f"cannot create the layer's entry {format_name(path)}: {error.strerror}")
