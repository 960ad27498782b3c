"""Operations on directories whose files belong to the ids of a store."""

from __future__ import annotations

import os
from collections.abc import Callable

from devbox.host import disk
from devbox.isolation.types import IdMap


def run_as_root(idmap: IdMap, work: Callable[[], None]) -> None:
    """Run `work` as root of the store: directly as root, else in a child that dies with this process."""
    if not idmap.rootless:
        work()
        return
    from devbox.isolation import forks, sandbox

    parent = os.getpid()

    def run_inside() -> None:
        sandbox.enter(idmap, parent=parent)
        work()

    forks.run_in_child(run_inside)


def remove(idmap: IdMap, path: str) -> None:
    """Remove a tree; no-op if missing."""
    if os.path.lexists(path):
        run_as_root(idmap, lambda: disk.remove(path))
