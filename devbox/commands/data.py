"""Snapshots and volumes of a project; data is copied while nothing writes to it."""

from __future__ import annotations

import re
from dataclasses import replace

from devbox.engines import capabilities
from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.host.repository import layout
from devbox.model.frozen import dataclass
from devbox.model.observed import Observed, Snapshot
from devbox.model.plan import Op
from devbox.model.spec import Desired, Spec
from devbox.plan import branches, takedown
from devbox.plan import diff as differ
from devbox.project import (
    ApplyContext,
    LockPolicy,
    Project,
    TrustPolicy,
    apply,
    build_instance,
    lock_instance,
    observe_instance,
    prepare,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+@-]{0,99}")


def save_snapshot(project: Project, name: str, sink: Sink, *, only: tuple[str, ...] = ()) -> Snapshot:
    """Save the volumes of all containers, or of those in `only`, under a name ("": the git branch).

    Containers that use the volumes are stopped during the copy.
    """
    with lock_instance(project, sink):
        name = _resolve_name(project, name)
        desired = prepare(project, lock=LockPolicy.PIN, trust=TrustPolicy.REQUIRE)
        observed = observe_instance(project, desired)
        volumes = _select_volumes(desired, observed, only)
        return _run_quiesced(project, Op.SAVE, name, volumes, desired, observed, sink)


def find_snapshot(project: Project, name: str) -> Snapshot:
    """Return a snapshot ("": of the git branch); UsageError if there is none."""
    name = _resolve_name(project, name)
    known = {each.name: each for each in list_snapshots(project)}
    if name not in known:
        raise _make_unknown_error(name, known)
    return known[name]


def restore_snapshot(project: Project, name: str, sink: Sink) -> Snapshot:
    """Restore the volumes of a snapshot; current data is lost. Users of the volumes are stopped meanwhile."""
    with lock_instance(project, sink):
        found = find_snapshot(project, name)
        desired = prepare(project, lock=LockPolicy.PIN, trust=TrustPolicy.REQUIRE)
        return _run_quiesced(
            project, Op.RESTORE, found.name, found.volumes, desired, observe_instance(project, desired), sink
        )


def list_snapshots(project: Project) -> tuple[Snapshot, ...]:
    """Return the snapshots, oldest first."""
    return capabilities.open_snapshots(project.engine, build_instance(project, "")).list_all()


def remove_snapshots(project: Project, names: tuple[str, ...], sink: Sink) -> None:
    """Remove snapshots."""
    with lock_instance(project, sink):
        for name in [find_snapshot(project, name).name for name in names]:
            capabilities.open_snapshots(project.engine, build_instance(project, "")).delete(name)


def _run_quiesced(
    project: Project, op: Op, name: str, volumes: tuple[str, ...], desired: Desired, observed: Observed, sink: Sink
) -> Snapshot:
    """Save or restore while nothing uses the volumes; always restart the stopped containers."""
    plan = takedown.plan_snapshot(op, name, volumes, desired.containers, observed)
    stopped = tuple(step.resource for step in plan.steps if step.op == Op.STOP)
    before = replace(observed, volumes=volumes)
    try:
        apply(plan, ApplyContext(project=project, desired=desired, observed=before, sink=sink))
    finally:
        if stopped:
            again = observe_instance(project, desired)
            context = ApplyContext(project=project, desired=desired, observed=again, sink=sink)
            apply(differ.diff(desired, again, names=stopped), context)
    return next(
        each for each in capabilities.open_snapshots(project.engine, desired.instance).list_all() if each.name == name
    )


def _resolve_name(project: Project, name: str) -> str:
    if not name:
        found = layout.find_branch(project.root)
        if found is None:
            raise UsageError(
                "missing argument: NAME (the project is not on a git branch)", remedy="devbox snapshot save NAME"
            )
        name = found
    return check_snapshot_name(name)


def check_snapshot_name(name: str) -> str:
    """Return a valid snapshot name; UsageError otherwise."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid snapshot name {name!r}",
            remedy="use letters, digits and . _ / + @ -, at most 100, a letter or digit first",
        )
    return name


def _select_volumes(spec: Spec, observed: Observed, only: tuple[str, ...]) -> tuple[str, ...]:
    """Return the existing volumes of the selection."""
    owned = {name: takedown.list_mounted(container) for name, container in spec.containers.items()}
    existing = set(observed.volumes)
    for name in only:
        if name not in owned and name not in existing:
            known = ", ".join([*(each for each, volumes in owned.items() if volumes), *sorted(existing)])
            raise UsageError(f"container or volume {name} not found", remedy=f"known: {known or 'none'}")
    own = sorted(volume for volume in existing if not branches.is_elsewhere(spec, volume))
    selected = [volume for name in only for volume in owned.get(name, (name,))] if only else own
    found = tuple(dict.fromkeys(volume for volume in selected if volume in existing))
    if not found:
        raise UsageError("cannot save a snapshot: the project has no volumes yet", remedy="devbox up")
    return found


def _make_unknown_error(name: str, known: dict[str, Snapshot]) -> UsageError:
    return UsageError(f"snapshot {name} not found", remedy=f"known: {', '.join(known) or 'none'}")


@dataclass(frozen=True, kw_only=True)
class VolumeSummary:
    """A volume on this host. `size`: bytes of its files, as in `du`; `containers`: those of the project that mount it.

    `in_use`: one of these containers exists now.
    """

    name: str
    size: int
    containers: tuple[str, ...]
    in_use: bool


def list_volumes(project: Project) -> tuple[VolumeSummary, ...]:
    """Return the volumes of the project, by name."""
    here = build_instance(project, "")
    standing = project.engine.observe(here).containers
    specs = project.records.read_last_applied().specs
    found = []
    for name, size in sorted(capabilities.open_snapshots(project.engine, here).measure_volumes().items()):
        users = takedown.find_users((name,), specs)
        in_use = any(user in standing for user in users)
        found.append(VolumeSummary(name=name, size=size, containers=users, in_use=in_use))
    return tuple(found)


def find_volumes(project: Project, names: tuple[str, ...]) -> tuple[VolumeSummary, ...]:
    """Return volumes by name; UsageError for a name that does not exist."""
    known = {each.name: each for each in list_volumes(project)}
    for name in names:
        if name not in known:
            raise UsageError(f"volume {name} not found", remedy=f"known: {', '.join(known) or 'none'}")
    return tuple(known[name] for name in names)


def check_removable(project: Project, names: tuple[str, ...]) -> None:
    """Raise UsageError for a volume that does not exist or is in use."""
    for found in find_volumes(project, names):
        if found.in_use:
            raise UsageError(f"volume {found.name} is in use by {', '.join(found.containers)}", remedy="devbox down")


def remove_volumes(project: Project, names: tuple[str, ...], sink: Sink) -> None:
    """Remove all named volumes, or none."""
    with lock_instance(project, sink):
        check_removable(project, names)
        for name in names:
            capabilities.open_snapshots(project.engine, build_instance(project, "")).remove_volume(name)
