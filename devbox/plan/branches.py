"""Data per git branch: volumes that each branch has of its own. Pure.

A volume `db.data` is `db.data@main` on the branch main: another volume, which begins as a copy of the one that was in
use when the branch was new.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Mapping
from dataclasses import replace

from devbox.model.container import ContainerSpec
from devbox.model.observed import Observed
from devbox.model.spec import Spec

_MARK = "@"  # no volume that a person or a recipe names has one
_LONGEST = 120  # characters of a directory's name


def apply_branch(resolved: Spec, branch: str | None, last: Mapping[str, ContainerSpec]) -> Spec:
    """The file with the volumes of this branch; on none, as amid a rebase, with those that were used last."""
    used = _find_used(last)
    names = {name: used.get(name, name) if branch is None else name_volume(name, branch) for name in resolved.branched}
    containers = {name: _replace_volumes(spec, names) for name, spec in resolved.containers.items()}
    return replace(resolved, containers=containers, branched=names)


def name_volume(name: str, branch: str) -> str:
    """The volume that a branch has in the place of `name`."""
    return f"{name}{_MARK}{_encode(branch)}"


def strip_branch(volume: str) -> str:
    """What a branch's volume is in the place of; another volume is so itself."""
    return volume.partition(_MARK)[0]


def find_seeds(resolved: Spec, observed: Observed) -> dict[str, str]:
    """The volumes of the branch that are not there yet → the volume that each begins as, where there is one."""
    used = _find_used(observed.last.specs)
    found = {}
    for name, mine in resolved.branched.items():
        before = next((each for each in (used.get(name, name), name) if each in observed.volumes), None)
        if mine not in observed.volumes and before is not None:
            found[mine] = before
    return found


def is_elsewhere(resolved: Spec, volume: str) -> bool:
    """Whether a volume belongs to another branch than the one that is checked out."""
    return resolved.branched.get(strip_branch(volume), volume) != volume


def find_moved(spec: ContainerSpec, last: ContainerSpec | None) -> str:
    """The branch whose data a container is to have, where that is all that changed about its mounts; else ""."""
    if last is None or spec.mounts == last.mounts or _normalize_mounts(spec) != _normalize_mounts(last):
        return ""
    sources = [mount.source for mount in spec.mounts if mount.kind == "volume" and _MARK in mount.source]
    return parse_branch(sources[0]) if sources else ""


def parse_branch(volume: str) -> str:
    """The branch that a volume belongs to; "" for one that belongs to none."""
    return urllib.parse.unquote(volume.partition(_MARK)[2])


def _find_used(last: Mapping[str, ContainerSpec]) -> dict[str, str]:
    """Volume → the one that was last in its place."""
    sources = (mount.source for spec in last.values() for mount in spec.mounts if mount.kind == "volume")
    return {strip_branch(source): source for source in sources if _MARK in source}


def _replace_volumes(spec: ContainerSpec, names: Mapping[str, str]) -> ContainerSpec:
    mounts = tuple(
        replace(mount, source=names[mount.source]) if mount.kind == "volume" and mount.source in names else mount
        for mount in spec.mounts
    )
    return replace(spec, mounts=mounts) if mounts != spec.mounts else spec


def _normalize_mounts(spec: ContainerSpec) -> tuple[object, ...]:
    """Its mounts, whatever the branch."""
    return tuple(
        replace(mount, source=strip_branch(mount.source)) if mount.kind == "volume" else mount for mount in spec.mounts
    )


def _encode(branch: str) -> str:
    """As a part of a directory's name; what would be too long ends with the hash of it all."""
    name = urllib.parse.quote(branch, safe="+=,~")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(branch.encode()).hexdigest()[:8]}"
