"""Files in host directories that other users may write to: opened stepwise, never through a replaced link.

A place is a directory and a name. The directory is opened by its real path, each component as a directory without
following links: replacing one causes an error, not a file elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from devbox.errors import HostError
from devbox.model.install import HostEntry

LINK_MODE = 0o777


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def open_directory(path: str) -> Iterator[int]:
    """Open the directory at a real path; FileNotFoundError if missing, HostError if a link is on the way."""
    fd = os.open("/", _DIRECTORY)
    try:
        for part in filter(None, path.split("/")):
            try:
                following = os.open(part, _DIRECTORY, dir_fd=fd)
            except NotADirectoryError:
                raise _make_moved_error(path) from None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise _make_moved_error(path) from None
                raise
            os.close(fd)
            fd = following
        yield fd
    finally:
        os.close(fd)


def resolve_place(place: str) -> str:
    """Resolve a place: "~/bin/x" within the caller's home, "/usr/local/bin/x" only through root's and own links.

    Raises HostError if a link leads out of the home, or belongs to another user.
    """
    path = os.path.normpath(os.path.expanduser(place))
    parent, name = os.path.split(path)
    found = os.path.realpath(parent)
    if place.startswith("~/"):
        home = os.path.realpath(os.path.expanduser("~"))
        if not f"{found}/".startswith(f"{home.rstrip('/')}/"):
            raise HostError(f"{parent} leads out of your home, to {found}", remedy=f"check the path: namei -l {parent}")
        return f"{found}/{name}"
    way = ""
    for part in filter(None, parent.split("/")):
        way = f"{way}/{part}"
        if os.path.islink(way) and os.lstat(way).st_uid not in (0, os.geteuid()):
            raise HostError(f"{way} is a link of another user", remedy=f"use the real path: {found}/{name}")
    return f"{found.rstrip('/')}/{name}"


def read_entry(path: str) -> HostEntry | None:
    """Return the entry at a path with a real parent directory; None if missing."""
    parent, name = os.path.split(path)
    with contextlib.suppress(FileNotFoundError), open_directory(parent) as fd:
        return _stat_entry(fd, name)
    return None


def sync(path: str) -> None:
    """Sync a directory's entries to disk."""
    with contextlib.suppress(FileNotFoundError), open_directory(path) as fd:
        os.fsync(fd)


def rename(source: str, target: str) -> None:
    """Rename a file within its directory, replacing the target; no-op if the source is missing (already renamed)."""
    parent = os.path.dirname(target)
    with contextlib.suppress(FileNotFoundError), open_directory(parent) as fd:
        os.rename(os.path.basename(source), os.path.basename(target), src_dir_fd=fd, dst_dir_fd=fd)


def unlink(path: str) -> None:
    """Remove a file or link, if it exists."""
    parent, name = os.path.split(path)
    with contextlib.suppress(FileNotFoundError), open_directory(parent) as fd:
        os.unlink(name, dir_fd=fd)


def make_directory(path: str, *, mode: int) -> None:
    """Create a directory, if missing."""
    parent, name = os.path.split(path)
    with contextlib.suppress(FileExistsError), open_directory(parent) as fd:
        os.mkdir(name, mode, dir_fd=fd)


def remove_directory(path: str) -> None:
    """Remove a directory, if it exists and is empty."""
    parent, name = os.path.split(path)
    with contextlib.suppress(OSError), open_directory(parent) as fd:
        os.rmdir(name, dir_fd=fd)


def write(source: str, target: str, *, mode: int) -> None:
    """Copy a file to a free path and sync it to disk."""
    parent, name = os.path.split(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open_directory(parent) as fd:
        out_fd = os.open(name, flags, 0o600, dir_fd=fd)
        with os.fdopen(out_fd, "wb") as out, open(source, "rb") as data:
            while chunk := data.read(1 << 20):
                out.write(chunk)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())


def link(leads_to: str, target: str) -> None:
    """Create a link at a free path."""
    parent, name = os.path.split(target)
    with open_directory(parent) as fd:
        os.symlink(leads_to, name, dir_fd=fd)


def _stat_entry(fd: int, name: str) -> HostEntry | None:
    try:
        facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_ISLNK(facts.st_mode):
        leads_to = os.readlink(name, dir_fd=fd)
        return HostEntry(kind="link", mode=LINK_MODE, digest=compute_link_digest(leads_to))
    if stat.S_ISDIR(facts.st_mode):
        return HostEntry(kind="directory", mode=mode, digest="")
    if not stat.S_ISREG(facts.st_mode):
        return HostEntry(kind="other", mode=mode, digest="")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(name, flags, dir_fd=fd), "rb") as source:
        return HostEntry(kind="file", mode=mode, digest=f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}")


def compute_link_digest(leads_to: str) -> str:
    """Return the digest of a link's target path."""
    return f"sha256:{hashlib.sha256(os.fsencode(leads_to)).hexdigest()}"


def _make_moved_error(path: str) -> HostError:
    return HostError(
        f"{path} was replaced: no longer a directory, or below a link",
        remedy=f"check the path: namei -l {path}",
    )
