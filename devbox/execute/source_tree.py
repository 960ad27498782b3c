"""Project files that test results depend on: files and links by content."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable

from devbox.host import revision
from devbox.host.safe_files import ProjectDirectory
from devbox.images.build import inputs
from devbox.images.build.inputs import translate_glob
from devbox.records import spec_cache

_GIT = ".git"
_GLOB = frozenset("*?[")


def read(root: str, patterns: tuple[str, ...], *, but: Iterable[str], record: str) -> dict[str, str]:
    """Map each path to `link:TARGET`, `file:DIGEST` or `program:DIGEST`. `record`: see `records.spec_cache`.

    Without patterns, all files that git does not ignore; without git, all files. `but` excludes paths, patterns, and
    everything below paths that end with a slash.
    """
    names = _exclude(_list_names(root, patterns), but)
    with ProjectDirectory(root) as project:
        facts = {path: found for path in names if (found := _stat(project, path))}
        known = spec_cache.compute_digests(
            root, [path for path, each in facts.items() if _is_file(each)], record=record
        )
        return {path: _digest_content(project, path, each, known) for path, each in facts.items()}


def _list_names(root: str, patterns: tuple[str, ...]) -> list[str]:
    if patterns:
        return sorted(inputs.find_named(root, patterns))
    listed = revision.list_files(root)
    if listed is None:
        found = inputs.find_named(root, ["."])
        return sorted(path for path in found if path.partition("/")[0] != _GIT)
    with ProjectDirectory(root) as project:
        kinds = {path.rstrip("/"): facts for path in listed if (facts := _stat(project, path.rstrip("/")))}
    directories = [path for path, each in kinds.items() if stat.S_ISDIR(each.st_mode)]
    within = {
        name for name in inputs.find_named(root, directories) if f"/{_GIT}/" not in name
    }  # of nested repositories
    return sorted({*kinds, *within} - {*directories})


def _exclude(names: Iterable[str], but: Iterable[str]) -> list[str]:
    away = {*but}
    below = tuple(path for path in away if path.endswith("/"))
    globs = [re.compile(translate_glob(path), re.DOTALL) for path in away if not _GLOB.isdisjoint(path)]
    return [
        name
        for name in names
        if name not in away and not name.startswith(below) and not any(glob.fullmatch(name) for glob in globs)
    ]


def _is_file(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode)


def _stat(project: ProjectDirectory, path: str) -> os.stat_result | None:
    """Stat a path without following links; None if it no longer exists."""
    try:
        return project.stat(path, links=False)
    except OSError:
        return None


def _digest_content(project: ProjectDirectory, path: str, facts: os.stat_result, known: dict[str, str]) -> str:
    if not _is_file(facts):
        with contextlib.suppress(OSError):  # a link replaced after the stat
            return f"link:{project.readlink(path)}" if stat.S_ISLNK(facts.st_mode) else "special"
        return "special"
    digest = known.get(path, f"unreadable:{facts.st_size}:{facts.st_mtime_ns}")
    return f"{'program' if facts.st_mode & stat.S_IXUSR else 'file'}:{digest}"
