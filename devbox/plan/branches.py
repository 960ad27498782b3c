"""Data per git branch: volumes that belong to one branch. Pure.

The volume `db.data` is `db.data@main` on the branch main. The volume of a new branch starts as a copy of the volume
used when the branch was created.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Mapping
from dataclasses import replace

from devbox.model.container import ContainerSpec
from devbox.model.observed import Observed
from devbox.model.spec import Spec

_MARK = "@"  # not allowed in volume names of users and recipes
_LONGEST = 120  # characters of a directory name


def apply_branch(
    spec: Spec, branch: str | None, last: Mapping[str, ContainerSpec]
) -> tuple[dict[str, ContainerSpec], dict[str, str]]:
    """Return the containers with the volumes of this branch, and these volumes by their names in the file.

    Without a branch (during a rebase), they have the volumes used last.
    """
    used = _find_used(last)
    names = {name: used.get(name, name) if branch is None else name_volume(name, branch) for name in spec.branched}
    containers = {name: _replace_volumes(container, names) for name, container in spec.containers.items()}
    return containers, names


def name_volume(name: str, branch: str) -> str:
    """Return the name of `name`'s volume on a branch."""
    return f"{name}{_MARK}{_encode(branch)}"


def strip_branch(volume: str) -> str:
    """Return a volume's name without its branch."""
    return volume.partition(_MARK)[0]


def find_seeds(spec: Spec, observed: Observed) -> dict[str, str]:
    """Map each missing volume of the branch to its source volume, if any."""
    used = _find_used(observed.last.specs)
    found = {}
    for name, own in spec.branched.items():
        before = next((each for each in (used.get(name, name), name) if each in observed.volumes), None)
        if own not in observed.volumes and before is not None:
            found[own] = before
    return found


def is_elsewhere(spec: Spec, volume: str) -> bool:
    """True if a volume belongs to a branch other than the current one."""
    return spec.branched.get(strip_branch(volume), volume) != volume


def find_moved(spec: ContainerSpec, last: ContainerSpec | None) -> str:
    """Return the new branch if a container's mounts differ only by branch; else ""."""
    if last is None or spec.mounts == last.mounts or _normalize_mounts(spec) != _normalize_mounts(last):
        return ""
    sources = [mount.source for mount in spec.mounts if mount.kind == "volume" and _MARK in mount.source]
    return parse_branch(sources[0]) if sources else ""


def parse_branch(volume: str) -> str:
    """Return the branch of a volume; "" for a volume without one."""
    return urllib.parse.unquote(volume.partition(_MARK)[2])


def _find_used(last: Mapping[str, ContainerSpec]) -> dict[str, str]:
    """Map each volume to its last used branch volume."""
    sources = (mount.source for spec in last.values() for mount in spec.mounts if mount.kind == "volume")
    return {strip_branch(source): source for source in sources if _MARK in source}


def _replace_volumes(spec: ContainerSpec, names: Mapping[str, str]) -> ContainerSpec:
    mounts = tuple(
        replace(mount, source=names[mount.source]) if mount.kind == "volume" and mount.source in names else mount
        for mount in spec.mounts
    )
    return replace(spec, mounts=mounts) if mounts != spec.mounts else spec


def _normalize_mounts(spec: ContainerSpec) -> tuple[object, ...]:
    """Return the mounts without branch names."""
    return tuple(
        replace(mount, source=strip_branch(mount.source)) if mount.kind == "volume" else mount for mount in spec.mounts
    )


def _encode(branch: str) -> str:
    """Encode a branch for a directory name; a long name is truncated and ends with its hash."""
    name = urllib.parse.quote(branch, safe="+=,~")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(branch.encode()).hexdigest()[:8]}"
