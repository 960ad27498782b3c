"""The files of a working tree: those that git tracks, and those it would track."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from devbox.host import beneath
from devbox.host.beneath import Project, read_all
from devbox.host.repository import ignore
from devbox.host.repository.find import GIT, Repository

IGNORE = ".gitignore"
_LARGEST = 1 << 20
Level = tuple[str, tuple[ignore.Pattern, ...]]


class Found(NamedTuple):
    """A file or link that is not ignored, by its path from the top; another repository ends with a slash."""

    path: str
    facts: os.stat_result


def others(repository: Repository, start: str, *, excluded: bytes) -> Iterator[Found]:
    """Every file and link below a directory of the working tree that git does not ignore, tracked ones among them.

    `excluded`: patterns of the caller's own.
    """
    with Project(repository.top) as project:
        levels = _levels(project, repository, start, excluded)
        if not _is_ignored(start, levels):
            yield from _below(project, f"{start}/" if start else "", levels)


def is_ignored(repository: Repository, path: str, *, excluded: bytes) -> bool:
    """Whether git ignores a path of the working tree, by its own name or by that of a directory it lies in."""
    with Project(repository.top) as project:
        try:
            is_directory = stat.S_ISDIR(project.stat(path, links=False).st_mode)
        except OSError:
            is_directory = False
        return _is_ignored(path, _levels(project, repository, path, excluded), is_directory=is_directory)


def _is_ignored(path: str, levels: tuple[Level, ...], *, is_directory: bool = True) -> bool:
    parts = path.split("/") if path else []
    for number in range(1, len(parts) + 1):
        part = "/".join(parts[:number])
        known = [level for level in levels if part.startswith(level[0])]
        if ignore.ignores(known, part, is_directory=is_directory or number < len(parts)):
            return True
    return False


def _below(project: Project, above: str, levels: tuple[Level, ...]) -> Iterator[Found]:
    waiting = [(above, levels)]
    while waiting:
        above, levels = waiting.pop()
        names = _names(project, above)
        if IGNORE in names:
            levels = ((above, _read(project, f"{above}{IGNORE}")), *levels)
        inner = []
        for name in names:
            found = _look(project, f"{above}{name}", levels) if name != GIT else None
            if found is None:
                continue
            if stat.S_ISDIR(found.facts.st_mode) and not found.path.endswith("/"):
                inner.append((f"{found.path}/", levels))
            else:
                yield found
        waiting += reversed(inner)


def _look(project: Project, path: str, levels: tuple[Level, ...]) -> Found | None:
    """What git would see at a path; None where that is nothing, or ignored."""
    try:
        facts = project.stat(path, links=False)
    except OSError:
        return None
    directory = stat.S_ISDIR(facts.st_mode)
    if ignore.ignores(levels, path, is_directory=directory):
        return None
    if directory:
        return Found(f"{path}/" if _has_repository(project, path) else path, facts)
    return Found(path, facts) if stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode) else None


def _names(project: Project, path: str) -> list[str]:
    """The names in a directory, sorted; none where it is gone, or not this user's to look into."""
    try:
        directory = project.directory(path, links=False)
    except beneath.Unusable:
        raise
    except OSError:
        return []
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


def _levels(project: Project, repository: Repository, start: str, excluded: bytes) -> tuple[Level, ...]:
    """The patterns that count in a directory, the nearest first, but for its own."""
    levels: list[Level] = [("", ignore.parse(excluded))]
    with repository.common.open() as common:
        levels.insert(0, ("", _read(common, "info/exclude")))
    parts = start.split("/") if start else []
    for number in range(len(parts)):
        above = "".join(f"{part}/" for part in parts[:number])
        levels.insert(0, (above, _read(project, f"{above}{IGNORE}")))
    return tuple(levels)


def _has_repository(project: Project, path: str) -> bool:
    try:
        project.stat(f"{path}/{GIT}", links=False)
    except OSError:
        return False
    return True


def _read(project: Project, path: str) -> tuple[ignore.Pattern, ...]:
    """The patterns of a file; none where git would take none from it."""
    try:
        with open(project.open(path, links=False), "rb") as source:
            return ignore.parse(read_all(source, path, limit=_LARGEST))
    except OSError:
        return ()
