"""What the result of tests depends on in the project: files and links by content."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

from devbox.host import revision
from devbox.images.build import inputs
from devbox.images.build.patterns import expression
from devbox.records import digests

_GIT = ".git"
_GLOB = frozenset("*?[")


def read(root: str, patterns: tuple[str, ...], *, but: Iterable[str], record: str) -> dict[str, str]:
    """Path → what is there: `link:TARGET`, `file:DIGEST`, `program:DIGEST`. `record`: see `records.digests`.

    Without patterns all files of the project that git does not ignore; where there is no git, all. Paths and
    patterns of `but` make no difference, nor what lies below those that end with a slash.
    """
    facts = {path: os.lstat(f"{root}/{path}") for path in _without(_names(root, patterns), but)}
    known = digests.look([f"{root}/{path}" for path, each in facts.items() if _is_file(each)], record=record)
    return {path: _content(f"{root}/{path}", each, known) for path, each in facts.items()}


def _names(root: str, patterns: tuple[str, ...]) -> list[str]:
    if patterns:
        return sorted(inputs.named(root, patterns))
    listed = revision.listed(root)
    if listed is None:
        found = inputs.named(root, ["."])
        return sorted(path for path in found if path.partition("/")[0] != _GIT)
    there = [path.rstrip("/") for path in listed if os.path.lexists(f"{root}/{path}")]
    directories = [path for path in there if os.path.isdir(f"{root}/{path}") and not os.path.islink(f"{root}/{path}")]
    within = {path for path in inputs.named(root, directories) if f"/{_GIT}/" not in path}  # of repositories inside
    return sorted({*there, *within} - {*directories})


def _without(names: Iterable[str], but: Iterable[str]) -> list[str]:
    away = {*but}
    below = tuple(path for path in away if path.endswith("/"))
    globs = [re.compile(expression(path), re.DOTALL) for path in away if not _GLOB.isdisjoint(path)]
    return [
        name
        for name in names
        if name not in away and not name.startswith(below) and not any(glob.fullmatch(name) for glob in globs)
    ]


def _is_file(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode)


def _content(path: str, facts: os.stat_result, known: dict[str, str]) -> str:
    if not _is_file(facts):
        return f"link:{os.readlink(path)}" if stat.S_ISLNK(facts.st_mode) else "special"
    return f"{'program' if facts.st_mode & stat.S_IXUSR else 'file'}:{known.get(path, 'unreadable')}"
