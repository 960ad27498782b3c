"""Plans that end things: stop and down. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.model.container import ContainerSpec
from devbox.model.observed import Observed
from devbox.model.plan import Plan, Step
from devbox.plan import order

_STANDING = ("created", "starting", "running", "restarting", "stopping")


def stop(specs: Mapping[str, ContainerSpec], observed: Observed, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers, dependants first. `specs` say who needs whom; a container they don't know is stopped anyway."""
    return Plan(steps=tuple(stops(specs, observed, names, reason="asked to")))


def down(specs: Mapping[str, ContainerSpec], observed: Observed, *, project: str, volumes: bool) -> Plan:
    """Stop everything, then take the network and the supervisor away; with `volumes` the data, too."""
    stopping = stops(specs, observed, (), reason="down")
    kept = [name for name in observed.volumes if volumes]
    if not (observed.supervised or observed.standing or observed.containers or kept or (volumes and observed.tops)):
        return Plan(steps=())
    what = "down -v: its data goes, too" if volumes else "down: volumes stay"
    after = tuple(step.id for step in stopping)
    return Plan(steps=(*stopping, Step(op="teardown", resource=project, reason=what, after=after)))


def stops(
    specs: Mapping[str, ContainerSpec],
    observed: Observed,
    names: tuple[str, ...],
    *,
    reason: str,
    after: tuple[str, ...] = (),
) -> list[Step]:
    """A stop for each of the named containers (else all) that stands, dependants first, all behind `after`."""
    standing = [
        name for name, seen in observed.containers.items() if seen.state in _STANDING and (not names or name in names)
    ]
    steps = []
    for name in standing:
        dependants = [other for other in standing if other in specs and name in specs[other].needs]
        before = tuple(f"stop {other}" for other in dependants)
        steps.append(Step(op="stop", resource=name, reason=reason, after=(*after, *before)))
    known = order.dependants_first(specs)
    return sorted(steps, key=lambda step: known.index(step.resource) if step.resource in known else -1)
