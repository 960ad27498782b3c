"""Directories whose files belong to the ids of a store: handled with the right to do so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from devbox.errors import EngineError
from devbox.isolation import namespaces
from devbox.isolation.types import IdMap, ProcessRef


def as_root(idmap: IdMap, holder: ProcessRef | None, work: Callable[[], None]) -> None:
    """Do `work` as root of the store: an ordinary user in the holder's user namespace, root at once.

    EngineError when an ordinary user has no holder.
    """
    if idmap.rootless:
        if holder is None:
            raise EngineError("the instance has no user namespace yet", remedy="devbox up")
        namespaces.run_inside(holder, work)
    else:
        work()


def remove(idmap: IdMap, holder: ProcessRef | None, path: str) -> None:
    """Remove a tree. Quiet when there is none."""

    def work() -> None:
        if os.path.lexists(path):
            shutil.rmtree(path)

    as_root(idmap, holder, work)
