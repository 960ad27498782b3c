"""Access to a project's files, which containers can write to; paths never escape the project.

Each component of a path is opened relative to its parent. A link is followed only within the project, even under
concurrent changes; only regular files are read, up to a limit, and opening never blocks on a FIFO. A write replaces a
link and never follows it.
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
_SPARSE, _HOLES = 1 << 30, 16  # larger sparse files (in bytes) with less than this fraction on disk are not read
_BLOCK = 512
_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFLNK: "link"}


class ProjectDirectory:
    """An open project directory: its files by relative path. The last parent stays open for the next file.

    Raises OSError for a missing path, UnusablePath for one that is refused.
    """

    def __init__(self, root: str, inner: str = "") -> None:
        """Open the directory; `inner`: a subdirectory as the root, reached without links."""
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
        """Open a subdirectory as a root of its own; links to it may lead anywhere within the project."""
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
        """Open a regular file for reading. Without `links`, no link is followed."""
        found = self._find(path, links=links)
        try:
            _check_readable(os.fstat(found), path)
            return os.open(f"/proc/self/fd/{found}", _READ)
        finally:
            os.close(found)

    def stat(self, path: str, *, links: bool = True) -> os.stat_result:
        """Return the status of a path. Without `links`, a final link is not followed, and no other link is allowed."""
        found = self._find(path, links=links, last=False)
        try:
            return os.fstat(found)
        finally:
            os.close(found)

    def readlink(self, path: str) -> str:
        """Return a link's target as written."""
        found = self._find(path, links=False, last=False)
        try:
            return os.readlink("", dir_fd=found)
        finally:
            os.close(found)

    def open_directory(self, path: str, *, links: bool = True, make: int = 0) -> int:
        """Open a directory. `make`: create missing ones with this mode."""
        found = self._find(path, links=links, make=make)
        try:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return os.open(".", _LIST, dir_fd=found)
        finally:
            os.close(found)

    def _find(self, path: str, *, links: bool, last: bool = True, make: int = 0) -> int:
        """Return an O_PATH descriptor. Without `last`, a final link is opened itself unless `links` are followed."""
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
    """Open a regular file of a project; OSError if it is missing, UnusablePath for other kinds."""
    with ProjectDirectory(root) as project:
        fd = project.open(path, links=links)
    with open(fd, "rb") as source:
        yield source


def read(root: str, path: str, *, limit: int = LIMIT) -> bytes:
    """Read a whole file. OSError if it is missing; UnusablePath if it is not a regular file or exceeds the limit."""
    with open_regular(root, path) as source:
        return read_all(source, path, limit=limit)


def read_all(source: IO[bytes], path: str, *, limit: int = LIMIT) -> bytes:
    """Read the rest of an opened file; raise UnusablePath above the limit, including concurrent additions."""
    raw = source.read(limit + 1)
    if len(raw) > limit:
        raise UnusablePath(errno.EFBIG, f"larger than {_format_limit(limit)}", path)
    return raw


def read_text(root: str, path: str, *, limit: int = LIMIT) -> str | None:
    """Return a file's text; None if missing. HostError, without quoting its content, if it is unusable."""
    try:
        return read(root, path, limit=limit).decode()
    except UnicodeDecodeError:
        raise HostError(f"cannot read {path}: not UTF-8 text", remedy=f"check its type: file {root}/{path}") from None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise make_error("read", root, path, error) from None


def compute_digest(source: IO[bytes]) -> str:
    """Return the sha256 in hex of a file's content as of its opening, ignoring later additions."""
    import hashlib

    total, left = hashlib.sha256(), os.fstat(source.fileno()).st_size
    while left > 0 and (piece := source.read(min(left, 1 << 20))):
        total.update(piece)
        left -= len(piece)
    return total.hexdigest()


def make_error(verb: str, root: str, path: str, error: OSError) -> HostError:
    """Return the error for a path that cannot be opened."""
    return HostError(
        f"cannot {verb} {path}: {error.strerror}", remedy=f"check it with: ls -l {os.path.join(root, path)}"
    )


def exists(root: str, path: str) -> bool:
    """Return whether a path exists, including dangling links."""
    with ProjectDirectory(root) as project:
        try:
            project.stat(path, links=False)
        except OSError as error:
            return error.errno not in _ABSENT
    return True


def list_names(root: str, path: str = "") -> list[str]:
    """Return the sorted names in a directory; OSError if it is missing."""
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

    Follows no links. Skips missing and unreadable paths, and all names in `skip`. `directories`: yield directories as
    well.
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
    """Replace a file atomically, including a link itself; raise HostError if that is impossible.

    Missing directories are created. As root, everything is owned by the project's owner.
    """
    with open_replacement(root, path, mode=mode) as out:
        out.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


@contextlib.contextmanager
def open_replacement(root: str, path: str, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Yield a file that replaces the path once completely written, as in `write`."""
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
    """Remove a file or link, if it exists."""
    above, _, name = path.rpartition("/")
    with contextlib.suppress(OSError), ProjectDirectory(root) as project:
        directory = project.open_directory(above)
        try:
            os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)


def find_relative_path(root: str, path: str) -> str | None:
    """Return the path relative to the project of one that passes through its root; None for paths elsewhere."""
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
    """Raise UnusablePath unless the file is regular; huge sparse files are refused, as reading them would not end."""
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "device")
        raise UnusablePath(errno.EINVAL, f"not a regular file but a {kind}", path)
    if facts.st_size > _SPARSE and facts.st_blocks * _BLOCK * _HOLES < facts.st_size:
        raise UnusablePath(errno.EFBIG, f"{facts.st_size >> 30} GiB of holes", path)


def _give_to_owner(fd: int, root: str) -> None:
    if os.geteuid() == 0:
        owner = os.stat(root)
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _remove(name: str, directory: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _format_limit(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >> 20 else f"{limit} bytes"
