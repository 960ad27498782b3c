"""Files: atomic writes, private directories, locks. Standard library only."""

from __future__ import annotations

import _thread
import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from devbox.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


_LONGEST_PID = 20  # digits
ABANDONED = 600.0  # seconds after which an unfinished file may be removed
LONGEST = 64 << 20  # characters of devbox's own files; a longer file is damaged and not read


def write_atomic(path: str, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write a whole file atomically and durably: readers see the old or the new text, even after a crash."""
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
    """Yield a file that replaces `path` once completely written; on an error, it is removed.

    A special file (`/dev/null`, a FIFO) is written directly. Links are followed.
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


def write_record(path: str, data: bytes | str, *, mode: int = 0o600) -> None:
    """Write as `write_atomic`, then remove what killed writers left in the directory: it may contain secrets."""
    write_atomic(path, data, mode=mode)
    remove_unfinished(os.path.dirname(path))


def remove_unfinished(directory: str) -> None:
    """Remove temporary files of killed `write_atomic` calls.

    A file is kept while its process exists, and for ABANDONED seconds: the writer may be in another pid namespace.
    """
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            pid, _, thread = name.rpartition(".new-")[2].partition("-")
            if pid.isdecimal() and thread.isalnum() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(OSError):  # removed by another process, or not a file of devbox
                    if time.time() - os.lstat(f"{directory}/{name}").st_mtime > ABANDONED:
                        os.unlink(f"{directory}/{name}")


def prune_oldest(directory: str, most: int) -> None:
    """Remove a directory's oldest files, keeping `most`. Concurrent calls are safe."""
    with contextlib.suppress(FileNotFoundError):
        found = sorted(os.scandir(directory), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in found[most:]:
            os.unlink(entry.path)


def read_text(path: str, *, errors: str = "replace", waits: bool = False) -> str | None:
    """Return the text of a file; None if it does not exist, "" if it is too long or not regular, unless `waits`.

    `errors`: handling of bytes that are not UTF-8, as in `open`. By default they become U+FFFD, so that a damaged file
    is refused when its content is checked. `waits`: for user-chosen paths, which may be a pipe or a device.
    """
    try:
        with open(path, encoding="utf-8", errors=errors, opener=None if waits else open_nonblocking) as source:
            if waits:
                return source.read()
            text = source.read(LONGEST + 1) if stat.S_ISREG(os.fstat(source.fileno()).st_mode) else ""
            return text if len(text) <= LONGEST else ""
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        if waits:
            raise
        return ""


@contextlib.contextmanager
def open_regular(path: str) -> Iterator[tuple[IO[bytes], str]]:
    """Yield a file and its real path; "" if it is not a regular file. Does not block on a FIFO.

    The check applies to the opened file: the path may lead to another one by then.
    """
    with open(path, "rb", opener=open_nonblocking) as source:
        regular = stat.S_ISREG(os.fstat(source.fileno()).st_mode)
        yield source, os.readlink(f"/proc/self/fd/{source.fileno()}") if regular else ""


def open_nonblocking(path: str, flags: int) -> int:
    """Opener that does not block on a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def ensure_private_dir(path: str, *, mode: int = 0o711) -> str:
    """Ensure a directory that belongs to this user, creating parents; raise HostError for another owner."""
    os.makedirs(path, mode=mode, exist_ok=True)
    facts = os.lstat(path)
    if facts.st_uid != os.geteuid():
        raise HostError(
            f"{path} belongs to uid {facts.st_uid}, not to you",
            remedy="remove it, or set DEVBOX_HOME and DEVBOX_RUNTIME_DIR to other directories",
        )
    return path


def ensure_closed_dir(path: str) -> str:
    """Ensure a directory without access for other users; tighten one created by an earlier version.

    For container-written files: these may be set-uid, and effective for every user who can reach them.
    """
    ensure_private_dir(path, mode=0o700)
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        os.chmod(path, 0o700)
    return path


def ensure_runtime_dir(path: str) -> str:
    """Ensure a private directory in a world-writable place such as /dev/shm: its parent must be safe, too."""
    parent = os.path.dirname(path)
    os.makedirs(parent, mode=0o711, exist_ok=True)
    facts = os.lstat(parent)
    open_to_all = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in (os.geteuid(), 0) or open_to_all:
        raise HostError(
            f"unsafe directory {parent}: another user could replace files of devbox",
            details=f"mode {stat.filemode(facts.st_mode)}, owner uid {facts.st_uid}",
            remedy=f"inspect and remove it, or close it: chmod go-w {parent}; "
            "or set DEVBOX_RUNTIME_DIR to a directory of your own",
        )
    return ensure_private_dir(path)


@contextlib.contextmanager
def lock_file(path: str, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a file lock; yield False at once if `wait` is false and another process holds it.

    The lock ends with its process. The file contains the holder's pid, for messages. Raises HostError if the path is
    not a regular file: through a link, another file would be overwritten.
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
    """Return the pid in a lock file, for the message 'waiting for …'."""
    text = read_text(path)
    return int(text) if text and text.isdecimal() and len(text) < _LONGEST_PID else None
