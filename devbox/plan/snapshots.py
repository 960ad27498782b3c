"""Plans about snapshots: what mounts the volumes stands still meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.model.container import ContainerSpec
from devbox.model.observed import Observed
from devbox.model.plan import Plan, Step
from devbox.plan import takedown


def plan(op: str, name: str, volumes: tuple[str, ...], specs: Mapping[str, ContainerSpec], observed: Observed) -> Plan:
    """`op` is "save" or "restore": what mounts one of the volumes stops, dependants first, then it is done."""
    what = ", ".join(volumes)
    reason = f"volumes {what}" if len(volumes) > 1 else f"volume {what}"
    standing = tuple(user for user in users(volumes, specs) if user in observed.containers)
    stops = takedown.stops(specs, observed, standing, reason=f"it uses {what}") if standing else []
    step = Step(op=op, resource=name, reason=reason, after=tuple(stop.id for stop in stops))
    return Plan(steps=(*stops, step))


def users(volumes: tuple[str, ...], specs: Mapping[str, ContainerSpec]) -> tuple[str, ...]:
    """The containers that mount one of the volumes."""
    return tuple(name for name, spec in specs.items() if set(mounted(spec)) & set(volumes))


def mounted(spec: ContainerSpec) -> tuple[str, ...]:
    """The volumes of a container."""
    return tuple(mount.source for mount in spec.mounts if mount.kind == "volume")
