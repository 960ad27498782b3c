"""Directories whose files belong to the ids of a store: handled with the right to do so."""

from __future__ import annotations

import os
import shutil

from devbox.isolation import namespaces
from devbox.isolation.types import Context


def remove(context: Context, path: str) -> None:
    """Remove a tree; an ordinary user does it as root of the store. Quiet when there is none."""

    def work() -> None:
        if os.path.lexists(path):
            shutil.rmtree(path)

    if context.idmap.rootless:
        namespaces.run_inside(context.holder, work)
    else:
        work()
