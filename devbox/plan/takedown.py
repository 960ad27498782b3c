"""Plans of `stop` and `down`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.model.container import ContainerSpec
from devbox.model.observed import Observed
from devbox.model.plan import Op, Plan, Reason, Step
from devbox.plan import order

_STANDING = ("created", "starting", "running", "restarting", "stopping")


def stop(specs: Mapping[str, ContainerSpec], observed: Observed, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers, dependants first according to `specs`; a container without a spec is stopped, too."""
    return Plan(steps=tuple(plan_stops(specs, observed, names, reason=Reason.routine("requested"))))


def remove(specs: Mapping[str, ContainerSpec], observed: Observed, *, names: tuple[str, ...]) -> Plan:
    """Stop the named containers, dependants first, and remove them; the network and all others stay."""
    stops = plan_stops(specs, observed, names, reason=Reason.routine("down"))
    after = tuple(step.id for step in stops)
    gone = [name for name in names if name in observed.containers]
    removals = [Step(op=Op.REMOVE, resource=name, reason=Reason.routine("down"), after=after) for name in gone]
    return Plan(steps=(*stops, *removals))


def find_own_volumes(
    specs: Mapping[str, ContainerSpec], observed: Observed, *, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the existing volumes that only the named containers mount."""
    own = {volume for name in names if name in specs for volume in list_mounted(specs[name])}
    others = {volume for name, spec in specs.items() if name not in names for volume in list_mounted(spec)}
    return tuple(sorted((own - others) & set(observed.volumes)))


def down(specs: Mapping[str, ContainerSpec], observed: Observed, *, project: str, volumes: bool) -> Plan:
    """Stop everything, then remove the network and the supervisor; with `volumes` the data, too."""
    stopping = plan_stops(specs, observed, (), reason=Reason.routine("down"))
    kept = [name for name in observed.volumes if volumes]
    if not (observed.supervised or observed.standing or observed.containers or kept or (volumes and observed.tops)):
        return Plan(steps=())
    what = Reason.routine("down -v: its data is removed, too" if volumes else "down: volumes are kept")
    after = tuple(step.id for step in stopping)
    return Plan(steps=(*stopping, Step(op=Op.TEARDOWN, resource=project, reason=what, after=after)))


def plan_stops(
    specs: Mapping[str, ContainerSpec],
    observed: Observed,
    names: tuple[str, ...],
    *,
    reason: str,
    after: tuple[str, ...] = (),
) -> list[Step]:
    """Plan stops of the named (default: all) active containers, dependants first, all after `after`."""
    standing = [
        name for name, seen in observed.containers.items() if seen.state in _STANDING and (not names or name in names)
    ]
    steps = []
    for name in standing:
        dependants = [other for other in standing if other in specs and name in specs[other].needs]
        before = tuple(f"stop {other}" for other in dependants)
        steps.append(Step(op=Op.STOP, resource=name, reason=reason, after=(*after, *before)))
    known = order.list_stop_order(specs)
    return sorted(steps, key=lambda step: known.index(step.resource) if step.resource in known else -1)


def plan_snapshot(
    op: Op, name: str, volumes: tuple[str, ...], specs: Mapping[str, ContainerSpec], observed: Observed
) -> Plan:
    """Plan SAVE or RESTORE: stop the users of the volumes, dependants first, then run `op`."""
    what = ", ".join(volumes)
    reason = f"volumes {what}" if len(volumes) > 1 else f"volume {what}"
    standing = tuple(user for user in find_users(volumes, specs) if user in observed.containers)
    stops = plan_stops(specs, observed, standing, reason=f"it uses {what}") if standing else []
    step = Step(op=op, resource=name, reason=reason, after=tuple(stop.id for stop in stops))
    return Plan(steps=(*stops, step))


def find_users(volumes: tuple[str, ...], specs: Mapping[str, ContainerSpec]) -> tuple[str, ...]:
    """Return the containers that mount one of the volumes."""
    return tuple(name for name, spec in specs.items() if set(list_mounted(spec)) & set(volumes))


def list_mounted(spec: ContainerSpec) -> tuple[str, ...]:
    """Return the volumes of a container."""
    return tuple(mount.source for mount in spec.mounts if mount.kind == "volume")
