"""Volumes of a project: what there is, who uses it, and away with what nobody uses."""

from __future__ import annotations

from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.frozen import dataclass
from devbox.opened import Project, exclusive, instance
from devbox.plan import snapshots


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A volume on this machine. `size`: bytes of its files, as `du` counts them; `containers` of the project mount it.

    `in_use`: one of them is there now.
    """

    name: str
    size: int
    containers: tuple[str, ...]
    in_use: bool


def listed(opened: Project) -> tuple[Kept, ...]:
    """The volumes of the project, by name."""
    here = instance(opened, "")
    standing = opened.engine.observe(here).containers
    specs = opened.records.last().specs
    found = []
    for name, size in sorted(opened.engine.snapshots(here).sizes().items()):
        users = snapshots.users((name,), specs)
        in_use = any(user in standing for user in users)
        found.append(Kept(name=name, size=size, containers=users, in_use=in_use))
    return tuple(found)


def remove(opened: Project, names: tuple[str, ...], sink: Sink) -> None:
    """Remove volumes with all that they hold: all of those that are named, or none."""
    with exclusive(opened, sink):
        known = {each.name: each for each in listed(opened)}
        for name in names:
            if name not in known:
                raise UsageError(f"there is no volume {name}", remedy=f"known: {', '.join(known) or 'none'}")
            if known[name].in_use:
                users = ", ".join(known[name].containers)
                raise UsageError(f"the volume {name} is in use by {users}", remedy="devbox down, then again")
        for name in names:
            opened.engine.snapshots(instance(opened, "")).drop(name)
