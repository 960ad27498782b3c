"""Changes of a project's files as they happen, in batches: an editor's save is one, a checkout of a branch is one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from devbox.errors import HostError
from devbox.host import process

_QUIET_MS = 30  # a batch ends when nothing changed for so long,
_LONGEST_MS = 1000  # or when it has gone on for so long
_NOT_IGNORED = 1  # what git says when none is


def batches(root: str, places: Iterable[str]) -> Iterator[frozenset[str]]:
    """Paths below `root` that changed, relative to it; without end. KeyboardInterrupt on Ctrl-C.

    `places` are files and directories to look at; for one that is not there, what is above it. Left out are git's own
    files, what editors and compilers leave beside the files, and directories of dependencies.
    """
    import watchfiles

    looked_at = sorted({_nearest(root, place) for place in places})
    sees = watchfiles.DefaultFilter()
    for batch in watchfiles.watch(
        *looked_at, watch_filter=sees, debounce=_LONGEST_MS, step=_QUIET_MS, raise_interrupt=True
    ):
        yield frozenset(os.path.relpath(path, root) for _, path in batch)


def without_ignored(root: str, paths: Iterable[str]) -> frozenset[str]:
    """Those of the paths that git does not ignore; all, where there is no git or no repository."""
    found = frozenset(paths)
    if not found:
        return found
    # The project's own configuration starts no program, whoever owns it.
    argv = [
        "git",
        "-C",
        root,
        "-c",
        f"safe.directory={root}",
        "-c",
        "core.fsmonitor=false",
        "check-ignore",
        "-z",
        "--stdin",
    ]
    try:
        done = process.run(argv, purpose="ask git what it ignores", input=os.fsencode("\0".join(found)), check=False)
    except HostError:
        return found
    if done.returncode not in (0, _NOT_IGNORED):
        return found
    return found - set(done.stdout.decode(errors="surrogateescape").split("\0"))


def _nearest(root: str, place: str) -> str:
    path = os.path.join(root, place) if place else root
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
