"""Implementation of `cp`: files between the host and a container, as a tar that a program in the container handles.

The container's tar is hostile: it is unpacked without following links, without special files and set-id bits.
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from devbox.errors import NOT_FOUND, BakeFailed, DevboxError, UsageError
from devbox.host import environ, process
from devbox.images.layers.tar import CHUNK, TarStream

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PERMISSIONS = 0o777
_IS_DIRECTORY = ("sh", "-c", 'test -d "$1"', "sh")


@dataclass(frozen=True)
class CopyPath:
    """A path on the host, or with a `container` in it."""

    path: str
    container: str = ""


@dataclass(frozen=True)
class Entrance:
    """How to run a program in a container: the words of `devbox exec` before it, by the container's name."""

    words: Callable[[str], tuple[str, ...]]

    def run(self, container: str, argv: tuple[str, ...], *, stdin: int | None = None, stdout: int | None = None) -> int:
        """Run a program to its end; return its exit code."""
        return self.start(container, argv, stdin=stdin, stdout=stdout).wait()

    def start(
        self, container: str, argv: tuple[str, ...], *, stdin: int | None = None, stdout: int | None = None
    ) -> process.Program:
        """Start a program with stderr of this process."""
        command = [sys.executable, "-P", "-m", "devbox", *self.words(container), *argv]
        return process.spawn(command, stdin=stdin, stdout=stdout, stderr=2, env=environ.copy_environment())


def copy(source: CopyPath, target: CopyPath, entrance: Entrance) -> None:
    """Copy a file or directory; into a target that is a directory, under its own name. DevboxError if it fails."""
    if source.container:
        _copy_out(source, target.path, entrance)
    else:
        _copy_in(source.path, target, entrance)


def _copy_out(source: CopyPath, target: str, entrance: Entrance) -> None:
    parent, name = _split(source.path)
    if name == "." and not os.path.lexists(target):
        os.mkdir(target)
    place, renamed = (target, name) if os.path.isdir(target) else _split(os.path.abspath(target))
    if not os.path.isdir(place):
        raise UsageError(f"{place} is not a directory", remedy=f"mkdir -p {place}")
    read_end, write_end = os.pipe()
    program = entrance.start(source.container, ("tar", "-C", parent, "-cf", "-", "--", name), stdout=write_end)
    os.close(write_end)
    top = os.open(place, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        with open(read_end, "rb") as archive:
            _unpack(archive, top, name, renamed)
    except BakeFailed:  # an incomplete tar: the program's exit code tells more
        _check(program.wait(), source.container)
        raise
    finally:
        os.close(top)
        code = program.wait()
    _check(code, source.container)


def _unpack(archive: IO[bytes], top: int, name: str, renamed: str) -> None:
    """Unpack below the directory `top`, with the first component `name` renamed."""
    stream = TarStream(archive, None, what="the container's tar")
    for entry in stream.read_entries():
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if ".." in parts or (name != "." and parts[:1] != [name]):
            raise DevboxError(
                f"unexpected path in the container's tar: {entry.name!r}", remedy="replace the tar of its image"
            )
        _create(stream, entry, top, [renamed, *parts[1:]] if name != "." else parts)


def _create(stream: TarStream, entry: tarfile.TarInfo, top: int, parts: list[str]) -> None:
    """Create a file, directory or symlink; hard links and special files are skipped."""
    if not parts:
        return
    parent = _open_parent(top, parts[:-1])
    try:
        name, mode = parts[-1], entry.mode & _PERMISSIONS
        if entry.isdir():
            _make_directory(name, mode, parent)
        elif entry.issym():
            _clear(name, parent)
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.isreg():
            _clear(name, parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as out:
                left = entry.size
                while left and (data := stream.read_content(min(left, CHUNK))):
                    out.write(data)
                    left -= len(data)
                os.fchmod(out.fileno(), mode)
    finally:
        os.close(parent)


def _open_parent(top: int, parts: list[str]) -> int:
    """Open a directory below `top`, creating it; never through a symlink."""
    now = os.dup(top)
    for part in parts:
        try:
            _make_directory(part, 0o755, now)
            deeper = os.open(part, _DIRECTORY, dir_fd=now)
        finally:
            os.close(now)
        now = deeper
    return now


def _make_directory(name: str, mode: int, parent: int) -> None:
    """Create a directory unless it exists. A file or link of this name is an error: it would be lost."""
    try:
        os.mkdir(name, mode | stat.S_IRWXU, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise DevboxError(
                f"cannot create the directory {name}: a file or link is in the way", remedy=f"move it away: {name}"
            ) from None


def _clear(name: str, parent: int) -> None:
    """Remove a file or link that is replaced."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise DevboxError(f"cannot replace the directory {name} with a file", remedy=f"remove it: rm -r {name}")
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _copy_in(source: str, target: CopyPath, entrance: Entrance) -> None:
    if not os.path.lexists(source):
        raise UsageError(f"{source} does not exist", remedy="devbox cp SOURCE CONTAINER:PATH")
    own = "." if source.endswith("/.") else os.path.basename(os.path.abspath(source))
    inside = entrance.run(target.container, (*_IS_DIRECTORY, target.path)) == 0
    parent, name = (target.path, own) if inside else _split(target.path)
    read_end, write_end = os.pipe()
    program = entrance.start(target.container, ("tar", "-C", parent, "-xof", "-"), stdin=read_end)
    os.close(read_end)
    try:
        with open(write_end, "wb") as out, tarfile.open(fileobj=out, mode="w|") as archive:
            archive.add(source, arcname=name, filter=_make_anonymous)
    except BrokenPipeError:
        pass  # the program's exit code tells why
    finally:
        code = program.wait()
    _check(code, target.container)


def _make_anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Drop the owner: files belong to the user that the container's commands run as."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry if entry.isreg() or entry.isdir() or entry.issym() or entry.islnk() else None


def _split(path: str) -> tuple[str, str]:
    """Return the directory and the name of a path; `.` as the name for the content of a directory."""
    if path.endswith("/.") or path in (".", "/"):
        return path, "."
    parent, name = os.path.split(path.rstrip("/"))
    return (path, ".") if name == ".." else (parent or ".", name)


def _check(code: int, container: str) -> None:
    if code == NOT_FOUND:
        raise DevboxError(
            f"tar not found in {container}", remedy=f"install it there, or: devbox exec {container} cat FILE > FILE"
        )
    if code:
        raise DevboxError(f"copying failed: tar in {container} exited with {code}", remedy="see its message above")
