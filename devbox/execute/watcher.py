"""Changes of project files, in batches: one per save in an editor or checkout of a branch.

Directories are watched one by one: a recursive watch would follow links out of the project.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from devbox.host import revision, safe_files

_QUIET_MS = 30  # a batch ends after this time without a change,
_LONGEST_MS = 1000  # or at this age
_AGAIN_MS = 300
_LATER_MS = 3_600_000

Facts = dict[str, tuple[int, int]]  # mtime and size of files by path


def watch_batches(root: str, places: Iterable[str]) -> Iterator[frozenset[str]]:
    """Yield batches of changed paths, relative to `root`, endlessly. KeyboardInterrupt on Ctrl-C.

    `places`: files and directories to watch; a missing one is replaced by its nearest parent. Ignores git's files,
    temporary files of editors and compilers, dependency directories and link targets.
    """
    import watchfiles

    sees = watchfiles.DefaultFilter()
    skip = frozenset(sees.ignore_dirs)
    starts = frozenset(_find_nearest(root, place) for place in places)
    watched, seen = _list_watched(root, starts, skip), _stat_files(root, starts, skip)
    again = False  # new directories are watched: rescan for changes made in the meantime
    while True:
        for batch in watchfiles.watch(
            *(os.path.normpath(os.path.join(root, path)) for path in watched),
            watch_filter=sees,
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            rust_timeout=_AGAIN_MS if again else _LATER_MS,
            yield_on_timeout=True,
            raise_interrupt=True,
            recursive=False,
        ):
            changed = {os.path.relpath(path, root) for _, path in batch}
            new = _list_watched(root, starts if again else changed, skip, files=False) - watched
            now = _stat_files(root, starts, skip) if new or again else {**seen, **_stat_files(root, changed, skip)}
            found = {path for path in now.keys() | seen.keys() if now.get(path) != seen.get(path)}
            changed |= {path for path in found if sees(watchfiles.Change.modified, f"{root}/{path}")}
            seen, again = now, bool(new)
            if changed:
                yield frozenset(changed)
            if new:
                watched |= new
                break


def exclude_ignored(root: str, paths: Iterable[str]) -> frozenset[str]:
    """Return the paths that git does not ignore; all without a repository."""
    found = frozenset(paths)
    return found - revision.find_ignored(root, found) if found else found


def _list_watched(root: str, paths: Iterable[str], skip: frozenset[str], *, files: bool = True) -> frozenset[str]:
    """Return the directories among and below the paths; with `files`, also paths that are files."""
    found: set[str] = set()
    for start in paths:
        if skip.isdisjoint(start.split("/")):
            for path, facts in safe_files.walk(root, start, directories=True, skip=skip):
                if stat.S_ISDIR(facts.st_mode) or (files and path == start and stat.S_ISREG(facts.st_mode)):
                    found.add(path)
    return frozenset(found)


def _stat_files(root: str, directories: Iterable[str], skip: frozenset[str]) -> Facts:
    return {
        path: (facts.st_mtime_ns, facts.st_size)
        for start in directories
        for path, facts in safe_files.walk(root, start, skip=skip)
    }


def _find_nearest(root: str, place: str) -> str:
    """Return the path or its nearest existing parent."""
    path = os.path.normpath(place) if place else ""
    with safe_files.ProjectDirectory(root) as project:
        while path:
            try:
                project.stat(path, links=False)
            except OSError:
                path = os.path.dirname(path)
            else:
                break
    return path
