"""The one door to a project's files, which containers write, too: nothing outside the project is reached through it.

Every part of a path is opened by itself, below the directory that was opened before it. So a link counts only while it
stays in the project, whatever changes meanwhile; a file is read only where it is a regular one, up to a limit, and no
open waits for the other end of a pipe. What is written takes the place of a link and never goes through it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from devbox.errors import HostError
from devbox.host.path_steps import PATH, PathWalker, UnusablePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Self

__all__ = [
    "LIMIT",
    "ProjectDirectory",
    "UnusablePath",
    "compute_digest",
    "exists",
    "find_relative_path",
    "list_names",
    "make_error",
    "open_regular",
    "open_replacement",
    "read",
    "read_all",
    "read_text",
    "unlink",
    "walk",
    "write",
]

LIMIT = 16 << 20  # bytes of a file that is read as a whole
_SPARSE, _HOLES = 1 << 30, 16  # a file above so many bytes that has not this part of them on the disk is not read
_BLOCK = 512
_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFLNK: "link"}


class ProjectDirectory:
    """A project's directory, opened: its files by their paths in it. The last directory stays open for the next file.

    OSError where there is nothing, Unusable where what is there is not to be used.
    """

    def __init__(self, root: str, inner: str = "") -> None:
        """`inner`: the directory in it that counts as the whole, reached over no link."""
        self.root = root
        self._top = os.open(root, _ROOT)
        self._parent: tuple[str, int] | None = None
        if inner:
            try:
                narrow = self.open_directory(inner, links=False)
            except BaseException:
                self.__exit__()
                raise
            self.__exit__()
            self._top, self.root = narrow, f"{root.rstrip('/')}/{inner}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_parent()
        os.close(self._top)

    def open_subdirectory(self, path: str) -> ProjectDirectory:
        """A directory of it that counts as the whole from now on, wherever in the project links lead to it."""
        inner = ProjectDirectory(f"/proc/self/fd/{self._top}")
        try:
            top = self.open_directory(path)
        except BaseException:
            inner.__exit__()
            raise
        inner.__exit__()
        inner._top, inner.root = top, f"{self.root.rstrip('/')}/{path}"
        return inner

    def open(self, path: str, *, links: bool = True) -> int:
        """A regular file, to be read. Without `links`, none is followed, wherever it leads."""
        found = self._find(path, links=links)
        try:
            _check_readable(os.fstat(found), path)
            return os.open(f"/proc/self/fd/{found}", _READ)
        finally:
            os.close(found)

    def stat(self, path: str, *, links: bool = True) -> os.stat_result:
        """What lies at a path. Without `links`, a link is what is there, and none leads to it."""
        found = self._find(path, links=links, last=False)
        try:
            return os.fstat(found)
        finally:
            os.close(found)

    def readlink(self, path: str) -> str:
        """Where a link leads, as it is written."""
        found = self._find(path, links=False, last=False)
        try:
            return os.readlink("", dir_fd=found)
        finally:
            os.close(found)

    def open_directory(self, path: str, *, links: bool = True, make: int = 0) -> int:
        """A directory, to work in. `make`: the mode of those that are missing."""
        found = self._find(path, links=links, make=make)
        try:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return os.open(".", _LIST, dir_fd=found)
        finally:
            os.close(found)

    def _find(self, path: str, *, links: bool, last: bool = True, make: int = 0) -> int:
        """An O_PATH descriptor. Without `last`, a link at the end is opened itself unless `links` are followed."""
        above, _, name = path.rpartition("/")
        plain = name not in ("", ".", "..") and not make
        if plain and self._parent and self._parent[0] == above:
            with contextlib.suppress(OSError):
                found = os.open(name, PATH, dir_fd=self._parent[1])
                if not stat.S_ISLNK(os.fstat(found).st_mode) or not (links or last):
                    return found
                os.close(found)
        way = PathWalker(self.root, self._top, links=links, make=make)
        try:
            found = way.walk(path, last=last)
            if plain and way.straight:
                self._close_parent()
                self._parent = (above, os.dup(way.stack[-1]))
            return found
        finally:
            way.close()

    def _close_parent(self) -> None:
        if self._parent:
            os.close(self._parent[1])
            self._parent = None


@contextlib.contextmanager
def open_regular(root: str, path: str, *, links: bool = True) -> Iterator[IO[bytes]]:
    """A regular file of a project, to be read. OSError where there is none, Unusable for anything else."""
    with ProjectDirectory(root) as project:
        fd = project.open(path, links=links)
    with open(fd, "rb") as source:
        yield source


def read(root: str, path: str, *, limit: int = LIMIT) -> bytes:
    """Read a whole file. OSError if it does not exist; Unusable if it is not a regular file or exceeds the limit."""
    with open_regular(root, path) as source:
        return read_all(source, path, limit=limit)


def read_all(source: IO[bytes], path: str, *, limit: int = LIMIT) -> bytes:
    """The rest of an opened file, however much is added meanwhile. Unusable above the limit."""
    raw = source.read(limit + 1)
    if len(raw) > limit:
        raise UnusablePath(errno.EFBIG, f"it is larger than {_format_limit(limit)}", path)
    return raw


def read_text(root: str, path: str, *, limit: int = LIMIT) -> str | None:
    """A file's text; None where there is none. HostError, which quotes nothing of it, where it is unusable."""
    try:
        return read(root, path, limit=limit).decode()
    except UnicodeDecodeError:
        raise HostError(f"cannot read {path}: it is not UTF-8 text", remedy=f"see: file {root}/{path}") from None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise make_error("read", root, path, error) from None


def compute_digest(source: IO[bytes]) -> str:
    """The sha256 of what a file had when it was opened, as hex digits, whatever is added meanwhile."""
    import hashlib

    total, left = hashlib.sha256(), os.fstat(source.fileno()).st_size
    while left > 0 and (piece := source.read(min(left, 1 << 20))):
        total.update(piece)
        left -= len(piece)
    return total.hexdigest()


def make_error(verb: str, root: str, path: str, error: OSError) -> HostError:
    """What to tell of a path that can't be opened."""
    return HostError(f"cannot {verb} {path}: {error.strerror}", remedy=f"see: ls -l {os.path.join(root, path)}")


def exists(root: str, path: str) -> bool:
    """Whether something has that name, be it a link that leads nowhere."""
    with ProjectDirectory(root) as project:
        try:
            project.stat(path, links=False)
        except OSError as error:
            return error.errno not in _ABSENT
    return True


def list_names(root: str, path: str = "") -> list[str]:
    """The names in a directory, sorted. OSError where there is none."""
    with ProjectDirectory(root) as project:
        directory = project.open_directory(path)
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


def walk(
    root: str, start: str = "", *, directories: bool = False, skip: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below a path by its path in the project; the path itself if it is not a directory.

    Follows no link. Skips what does not exist or cannot be read, and every name in `skip`. `directories`: yield
    directories as well.
    """
    with ProjectDirectory(root) as project:
        waiting = [start.strip("/")]
        while waiting:
            path = waiting.pop()
            try:
                facts = project.stat(path, links=False)
                is_directory = stat.S_ISDIR(facts.st_mode)
                if directories or not is_directory:
                    yield path, facts
                if not is_directory:
                    continue
                directory = project.open_directory(path, links=False)
            except OSError as error:
                if isinstance(error, UnusablePath) and error.errno == errno.ENAMETOOLONG:
                    raise make_error("read", root, path, error) from None
                continue
            try:
                found = sorted(os.listdir(directory), reverse=True)
            finally:
                os.close(directory)
            waiting += [f"{path}/{name}" if path else name for name in found if name not in skip]


def write(root: str, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write a whole file in the place of what is there, a link itself included; HostError where that can't be.

    Directories on the way are made. Root gives all of it to the owner of the project.
    """
    with open_replacement(root, path, mode=mode) as out:
        out.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


@contextlib.contextmanager
def open_replacement(root: str, path: str, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A file to write, as `write` does: it gets its name when all of it is written."""
    above, _, name = path.rpartition("/")
    temporary = f".{name[:100]}.new-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with ProjectDirectory(root) as project:
            directory = project.open_directory(above, make=0o755)
    except OSError as error:
        raise make_error("write", root, path, error) from None
    try:
        with contextlib.ExitStack() as undo:
            fd = os.open(temporary, _NEW, 0o600, dir_fd=directory)
            undo.callback(_remove, temporary, directory)
            with os.fdopen(fd, "wb") as out:
                yield out
                out.flush()
                _give_to_owner(fd, root)
                os.fchmod(fd, mode)
                os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            undo.pop_all()
    except OSError as error:
        raise make_error("write", root, path, error) from None
    finally:
        os.close(directory)


def unlink(root: str, path: str) -> None:
    """Remove a file or link, if it is there."""
    above, _, name = path.rpartition("/")
    with contextlib.suppress(OSError), ProjectDirectory(root) as project:
        directory = project.open_directory(above)
        try:
            os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)


def find_relative_path(root: str, path: str) -> str | None:
    """The path in the project of one that is written to lead through its root; None for one elsewhere."""
    facts = os.stat(root)
    way, inner = os.path.abspath(path), ""
    while True:
        with contextlib.suppress(OSError):
            here = os.stat(way)
            if (here.st_dev, here.st_ino) == (facts.st_dev, facts.st_ino):
                return inner
        above, name = os.path.split(way)
        if above == way:
            return None
        way, inner = above, f"{name}/{inner}".rstrip("/")


def _check_readable(facts: os.stat_result, path: str) -> None:
    """Raise Unusable unless the file is regular; a huge sparse file is refused, since reading it would not end."""
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "device")
        raise UnusablePath(errno.EINVAL, f"it is not a regular file but a {kind}", path)
    if facts.st_size > _SPARSE and facts.st_blocks * _BLOCK * _HOLES < facts.st_size:
        raise UnusablePath(errno.EFBIG, f"it is {facts.st_size >> 30} GiB of holes", path)


def _give_to_owner(fd: int, root: str) -> None:
    if os.geteuid() == 0:
        owner = os.stat(root)
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _remove(name: str, directory: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _format_limit(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >> 20 else f"{limit} bytes"
