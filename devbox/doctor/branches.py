"""Data of git branches that are gone: volumes of their own, which nobody will ask for again."""

from __future__ import annotations

from devbox.engines import native_volumes
from devbox.errors import DevboxError
from devbox.host import git
from devbox.host.paths import Paths
from devbox.plan import branches
from devbox.records.instance import InstanceRecords


def abandoned(paths: Paths, instance: str, root: str) -> tuple[str, ...]:
    """Those volumes of the instance in `root` whose branch is gone from there; none where git does not tell."""
    own = [name for name in native_volumes.names(paths, instance) if branches.base(name) != name]
    known = git.branches(root) if own and root else None
    if not known:
        return ()
    try:
        last = InstanceRecords(paths, instance).last().specs.values()
    except DevboxError:  # what it uses is not known
        return ()
    used = {mount.source for spec in last for mount in spec.mounts}
    kept = {branches.volume(branches.base(name), branch) for name in own for branch in known}
    return tuple(name for name in own if name not in kept | used)
