"""Files: atomic writes, private directories, locks, hashes of trees. Standard library only."""

from __future__ import annotations

import _thread
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator

from devbox.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


LONGEST = 64 << 20  # characters of a file of devbox's own: a longer one is damaged, and fills no memory


def write_atomic(path: str, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write a whole file so that a reader sees the old text or the new, also after a crash."""
    raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    temporary = f"{path}.new-{os.getpid()}-{_thread.get_ident()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(raw)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def open_replacement(path: str) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when all of it is written; else nothing of it is left.

    What is not a regular file (`/dev/null`, a FIFO) is written to and stays what it is. Links are followed.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as out:
            yield out
        return
    temporary = f"{path}.new-{os.getpid()}-{_thread.get_ident()}"
    try:
        with open(temporary, "xb") as out:
            yield out
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_unfinished(directory: str) -> None:
    """Remove what killed writers of `write_atomic` left in a directory. Those of living processes stay."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            pid, _, thread = name.rpartition(".new-")[2].partition("-")
            if thread.isdigit() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{name}")


def prune_oldest(directory: str, most: int) -> None:
    """Remove the oldest files of a directory. Another process may do so, too."""
    with contextlib.suppress(FileNotFoundError):
        found = sorted(os.scandir(directory), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in found[most:]:
            os.unlink(entry.path)


def read_text(path: str, *, errors: str = "replace", waits: bool = False) -> str | None:
    """Return the text of a file; None if it does not exist, "" if it is too long or not regular, unless `waits`.

    `errors`: what becomes of bytes that are not UTF-8, as in `open`. By default they become U+FFFD, so that a damaged
    file is refused where its content is checked. `waits`: a user chose the path, which may be a pipe or a device.
    """
    try:
        with open(path, encoding="utf-8", errors=errors, opener=None if waits else open_nonblocking) as source:
            if waits:
                return source.read()
            text = source.read(LONGEST + 1) if stat.S_ISREG(os.fstat(source.fileno()).st_mode) else ""
            return text if len(text) <= LONGEST else ""
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def open_regular(path: str) -> Iterator[tuple[IO[bytes], str]]:
    """A file to read, and where it lies, links followed; "" for what is no regular file. Waits for no pipe's writer.

    What is checked is what was opened: a path may have become another file's by then.
    """
    with open(path, "rb", opener=open_nonblocking) as source:
        regular = stat.S_ISREG(os.fstat(source.fileno()).st_mode)
        yield source, os.readlink(f"/proc/self/fd/{source.fileno()}") if regular else ""


def open_nonblocking(path: str, flags: int) -> int:
    """An opener that waits for no pipe's writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def ensure_private_dir(path: str, *, mode: int = 0o711) -> str:
    """A directory that belongs to this user: made with its parents, refused when another user owns it."""
    os.makedirs(path, mode=mode, exist_ok=True)
    facts = os.lstat(path)
    if facts.st_uid != os.geteuid():
        raise HostError(
            f"{path} belongs to uid {facts.st_uid}, not to you",
            remedy="remove it, or point DEVBOX_HOME and DEVBOX_RUNTIME_DIR somewhere else",
        )
    return path


def ensure_closed_dir(path: str) -> str:
    """A directory that nobody else enters, which one of an earlier devbox may be open to.

    For what containers write: files of theirs may be set-uid, and would be so for everybody who can name them.
    """
    ensure_private_dir(path, mode=0o700)
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        os.chmod(path, 0o700)
    return path


def ensure_runtime_dir(path: str) -> str:
    """A private directory in a place that everyone may write to, as /dev/shm is: its parent must be safe as well."""
    parent = os.path.dirname(path)
    os.makedirs(parent, mode=0o711, exist_ok=True)
    facts = os.lstat(parent)
    open_to_all = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in (os.geteuid(), 0) or open_to_all:
        raise HostError(
            f"{parent} is not safe: another user could replace what devbox keeps there",
            details=f"it is {stat.filemode(facts.st_mode)} and belongs to uid {facts.st_uid}",
            remedy=f"look into it and remove it, or close it: chmod go-w {parent}; "
            "or point DEVBOX_RUNTIME_DIR at a directory of your own",
        )
    return ensure_private_dir(path)


@contextlib.contextmanager
def lock_file(path: str, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a file lock; yields False at once when `wait` is false and another process holds it.

    The lock ends with the process, so a killed holder leaves none. The file holds the holder's pid, for messages.
    HostError if the path is not a regular file: through a link, another file would be overwritten.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = _open_lock_file(path)
    try:
        flags = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(fd, flags)
        except BlockingIOError:
            yield False
            return
        if not shared:
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield True
    finally:
        os.close(fd)


def _open_lock_file(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        fd = -1
    if fd >= 0 and stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    if fd >= 0:
        os.close(fd)
    raise HostError(f"{path} is not a lock file", remedy=f"see: ls -ld {path}; move it away")


def read_lock_holder(path: str) -> int | None:
    """The pid in a lock file, for the sentence 'waiting for …'."""
    text = read_text(path)
    return int(text) if text and text.isdigit() else None
