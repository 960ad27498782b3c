"""What goes into a build: the declared files of the project, by content, and a copy of them.

Links are inputs themselves: what they lead to is not. A build that sees a link out of its inputs finds nothing there.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

from devbox.errors import BakeFailed, EnvFileError
from devbox.host import files
from devbox.images.build.patterns import expression
from devbox.images.epoch import SOURCE_DATE_EPOCH

_WILD = re.compile(r"[*?\[]")
_LINK, _PROGRAM, _FILE = "link:", "program:", "file:"


def read(root: str, patterns: Iterable[str], *, but: Iterable[str] = (), where: str = "") -> dict[str, str]:
    """Every file and link that the patterns name, by its path in the project; what it is, with a digest.

    A directory stands for all below it. EnvFileError (at `where`) where a path without wildcards is not there.
    """
    wanted = tuple(map(os.path.normpath, patterns))
    for pattern in wanted:
        if not _WILD.search(pattern) and not os.path.lexists(f"{root}/{pattern}"):
            raise EnvFileError(
                f"[build] has the input {pattern}, which is not in the project",
                where=where,
                remedy=f"make it, or take it out of inputs: ls {root}",
            )
    return {path: _content(f"{root}/{path}") for path in sorted(named(root, wanted) - {*but})}


def named(root: str, patterns: Iterable[str]) -> set[str]:
    """Every file and link that the patterns name, by its path in the project. A directory stands for all below it."""
    found: set[str] = set()
    for pattern in map(os.path.normpath, patterns):
        matching = re.compile(f"{expression(pattern)}(?:/.*)?", re.DOTALL)
        found |= {path for path in _below(root, _fixed_part(pattern)) if pattern == "." or matching.fullmatch(path)}
    return found


def copy(root: str, declared: Mapping[str, str], target: str) -> None:
    """Copy the declared files, as they were read. BakeFailed where one is another by now."""
    os.mkdir(target, 0o755)
    for path, content in declared.items():
        place = f"{target}/{path}"
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        if content.startswith(_LINK):
            os.symlink(content.removeprefix(_LINK), place)
        elif _copied(f"{root}/{path}", place, program=content.startswith(_PROGRAM)) != content.partition(":")[2]:
            raise BakeFailed(f"{path} changed while the build was being prepared", remedy="devbox build")


def _copied(source: str, target: str, *, program: bool) -> str:
    """Copy a file; the digest of what was copied."""
    digest = hashlib.sha256()
    try:
        with files.opened(source) as (data, real), open(target, "xb") as out:
            if real != source:
                return ""
            while chunk := data.read(1 << 20):
                digest.update(chunk)
                out.write(chunk)
            os.fchmod(out.fileno(), 0o755 if program else 0o644)
    except FileNotFoundError:
        return ""
    os.utime(target, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))
    return digest.hexdigest()


def _fixed_part(pattern: str) -> str:
    """The directory that all matches of a pattern lie in; "" for the project's own."""
    fixed = []
    for part in pattern.split("/"):
        if _WILD.search(part):
            break
        fixed.append(part)
    path = "/".join(fixed)
    return "" if path == "." else path


def _below(root: str, start: str) -> Iterator[str]:
    """The path itself where it is a file or link; else all files and links below it."""
    path = f"{root}/{start}" if start else root
    try:
        facts = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(facts.st_mode):
        if stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode):
            yield start
        return
    for name in sorted(os.listdir(path)):
        yield from _below(root, f"{start}/{name}" if start else name)


def _digest(source: IO[bytes]) -> str:
    found = hashlib.sha256()
    while chunk := source.read(1 << 20):
        found.update(chunk)
    return found.hexdigest()


def _content(path: str) -> str:
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode):
        return f"{_LINK}{os.readlink(path)}"
    with files.opened(path) as (source, real):
        if real != path:  # it has become a link since it was looked at, or lies behind one
            raise BakeFailed(f"{path} changed while it was read", remedy="devbox build")
        digest = _digest(source)
    return f"{_PROGRAM if facts.st_mode & stat.S_IXUSR else _FILE}{digest}"
