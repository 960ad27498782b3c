"""Snapshots of a project's data: saved and put back while nothing writes to it."""

from __future__ import annotations

import re
from dataclasses import replace

from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.host import git
from devbox.model.observed import Observed
from devbox.model.resolved import Resolved
from devbox.model.snapshot import Snapshot
from devbox.opened import Project, carry_out, exclusive, instance, load_trusted, look
from devbox.plan import branches, snapshots
from devbox.plan import diff as differ

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+@-]{0,99}")


def save(opened: Project, name: str, sink: Sink, *, only: tuple[str, ...] = ()) -> Snapshot:
    """Save the volumes of all containers, or of those in `only`, under a name ("": that of git's branch).

    Containers that use them are stopped for as long as the copy takes, and started again.
    """
    with exclusive(opened, sink):
        name = _named(opened, name)
        resolved = load_trusted(opened)
        observed = look(opened, resolved)
        volumes = _chosen(resolved, observed, only)
        return _still(opened, "save", name, volumes, resolved, observed, sink)


def restore(opened: Project, name: str, sink: Sink) -> Snapshot:
    """Put the volumes back as they were saved; what they hold now is lost. Who uses them is stopped meanwhile."""
    with exclusive(opened, sink):
        name = _named(opened, name)
        resolved = load_trusted(opened)
        known = {each.name: each for each in opened.engine.snapshots(resolved.instance).all()}
        if name not in known:
            raise _unknown(name, known)
        return _still(opened, "restore", name, known[name].volumes, resolved, look(opened, resolved), sink)


def listed(opened: Project) -> tuple[Snapshot, ...]:
    """What was saved, the oldest first."""
    return opened.engine.snapshots(instance(opened, "")).all()


def forget(opened: Project, names: tuple[str, ...], sink: Sink) -> None:
    """Remove snapshots."""
    with exclusive(opened, sink):
        kept = opened.engine.snapshots(instance(opened, ""))
        known = {each.name: each for each in kept.all()}
        for name in names:
            if name not in known:
                raise _unknown(name, known)
        for name in names:
            kept.forget(name)


def _still(
    opened: Project,
    op: str,
    name: str,
    volumes: tuple[str, ...],
    resolved: Resolved,
    observed: Observed,
    sink: Sink,
) -> Snapshot:
    """Save or restore while nothing uses the volumes; what was stopped for it is started again, whatever came of it."""
    made = snapshots.plan(op, name, volumes, resolved.containers, observed)
    stopped = tuple(step.resource for step in made.steps if step.op == "stop")
    before = replace(observed, volumes=volumes)
    try:
        carry_out(opened, made, resolved, before, sink)
    finally:
        if stopped:
            again = look(opened, resolved)
            carry_out(opened, differ.diff(resolved, again, names=stopped), resolved, again, sink)
    return next(each for each in opened.engine.snapshots(resolved.instance).all() if each.name == name)


def _named(opened: Project, name: str) -> str:
    if not name:
        found = git.branch(opened.root)
        if found is None:
            raise UsageError(
                "the snapshot has no name, and the project is on no branch of git to name it after",
                remedy="devbox snapshot save NAME",
            )
        name = found
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be the name of a snapshot",
            remedy="use letters, digits and . _ / + @ -, at most 100, a letter or digit first",
        )
    return name


def _chosen(resolved: Resolved, observed: Observed, only: tuple[str, ...]) -> tuple[str, ...]:
    """The volumes that are meant and are there."""
    owned = {name: snapshots.mounted(spec) for name, spec in resolved.containers.items()}
    there = set(observed.volumes)
    for name in only:
        if name not in owned and name not in there:
            known = ", ".join([*(each for each, volumes in owned.items() if volumes), *sorted(there)])
            raise UsageError(f"there is no container or volume {name} to save", remedy=f"known: {known or 'none'}")
    mine = sorted(volume for volume in there if not branches.elsewhere(resolved, volume))
    wanted = [volume for name in only for volume in owned.get(name, (name,))] if only else mine
    found = tuple(dict.fromkeys(volume for volume in wanted if volume in there))
    if not found:
        raise UsageError("there is no data to save yet: no volume has been made", remedy="devbox up")
    return found


def _unknown(name: str, known: dict[str, Snapshot]) -> UsageError:
    return UsageError(f"there is no snapshot {name}", remedy=f"known: {', '.join(known) or 'none'}")
