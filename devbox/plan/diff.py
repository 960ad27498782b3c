"""Compare desired state (`Spec`) with observed state (`Observed`). Pure; the same plan is printed and run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from devbox.model.container import ContainerSpec, compute_setup_key, compute_spec_key
from devbox.model.image import KeyedStep, key_image
from devbox.model.observed import BoundPort, Observed, ObservedContainer
from devbox.model.plan import Op, Plan, Reason, Step
from devbox.model.spec import Spec
from devbox.plan import branches, order, ports, reasons, takedown
from devbox.plan.takedown import list_mounted

RESTART = Reason.routine("restart")
_OF_CONTAINERS = (Op.START, Op.REPLACE, Op.SETUP, Op.READY, Op.STOP)


def diff(
    spec: Spec,
    observed: Observed,
    *,
    names: tuple[str, ...] | None = None,
    images: tuple[str, ...] = (),
    network: bool = False,
) -> Plan:
    """Return the steps that converge the observed state to the env file; empty if nothing has to change.

    With `names`: only these containers and their needs, without removals. `images` are built in any case; `network`
    plans the network even if no container starts (for a one-shot container that is about to join).
    """
    chosen = order.select_containers(spec, names)
    differ = _Differ(spec, observed, chosen, images=images, network=network)
    return differ.plan(removing=names is None)


def drop_needs(plan: Plan, names: tuple[str, ...]) -> Plan:
    """Return the plan without steps of other containers: `names` start even if their needs do not run."""
    kept = [step for step in plan.steps if step.op not in _OF_CONTAINERS or step.resource in names]
    ids = {step.id for step in kept}
    return Plan(steps=tuple(replace(step, after=tuple(each for each in step.after if each in ids)) for step in kept))


def plan_bakes(spec: Spec, images: Iterable[str]) -> Plan:
    """Return the steps that build these images and their ancestors, whatever the store already has."""
    names = order.list_lineage(images, spec.images)
    parents = {name: spec.images[name].parent for name in names}
    return Plan(
        steps=tuple(
            Step(
                op=Op.BAKE,
                resource=name,
                reason=Reason.routine("requested"),
                after=(f"bake {parent}",) if parent else (),
            )
            for name, parent in parents.items()
        )
    )


def restart(spec: Spec, observed: Observed, *, names: tuple[str, ...] = ()) -> Plan:
    """Plan a restart of the named containers (default: all except tools), dependants first, from the current file."""
    chosen = frozenset(names) or order.select_containers(spec, None)
    return _Differ(spec, observed, chosen, images=(), network=False).restart()


@dataclass(frozen=True)
class _Change:
    """Change of one container: `op` is START, REPLACE or None (unchanged)."""

    op: Op | None
    reason: str = ""


class _Differ:
    """One comparison of a spec with an observation; collects steps."""

    def __init__(
        self, spec: Spec, observed: Observed, chosen: frozenset[str], *, images: tuple[str, ...], network: bool
    ) -> None:
        self._spec = spec
        self._observed = observed
        self._network_wanted = network
        self._specs = {name: container for name, container in spec.containers.items() if name in chosen}
        here = {*chosen, *observed.containers}
        ports.check([name for name in list_connected(spec) if name in here], instance=spec.instance.name)
        desired = (*(container.image for container in self._specs.values()), *images)
        self._images = {name: key_image(name, spec.images) for name in order.list_lineage(desired, spec.images)}

    def plan(self, *, removing: bool) -> Plan:
        """Return builds, then removals, the network, and containers with their setups."""
        changes = {name: self._decide_change(spec) for name, spec in self._specs.items()}
        bakes = self._plan_bakes()
        removals = self._plan_removals() if removing else []
        network = self._plan_network(changes, after=tuple(step.id for step in removals))
        copies = self._plan_copies(changes, after=tuple(step.id for step in bakes))
        starts = self._plan_containers(changes, after=tuple(step.id for step in (*network, *copies)))
        return Plan(steps=self._add_hooks((*bakes, *removals, *network, *copies, *starts)))

    def restart(self) -> Plan:
        """Return builds while everything still runs, then stops, the network, and starts with their setups."""
        changes = {name: _Change(Op.START, RESTART) for name in self._specs}
        bakes = self._plan_bakes()
        baked = tuple(step.id for step in bakes)
        stops = takedown.plan_stops(self._specs, self._observed, tuple(self._specs), reason=RESTART, after=baked)
        network = self._plan_network(changes, after=tuple(step.id for step in stops))
        copies = self._plan_copies(changes, stops=stops, after=tuple(step.id for step in stops))
        before = tuple(step.id for step in (*stops, *network, *copies))
        starts = self._plan_containers(changes, after=before)
        return Plan(steps=self._add_hooks((*bakes, *stops, *network, *copies, *starts)))

    def _add_hooks(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Append the hooks that are due; none for a one-shot (`network`)."""
        started = any(step.op in (Op.START, Op.REPLACE) for step in steps)
        due = {*self._observed.hooks_due, *(("started",) if started else ())}
        for name in () if self._network_wanted else self._spec.hooks:
            if name in due:
                reason = reasons.why_hook(started=started, name=name)
                after = tuple(step.id for step in steps)
                steps = (*steps, Step(op=Op.HOOK, resource=name, reason=reason, after=after))
        return steps

    def _plan_bakes(self) -> list[Step]:
        steps = []
        for name, image in self._images.items():
            if name in self._observed.baked:
                continue
            parent = self._spec.images[name].parent
            cached = frozenset(self._observed.steps)
            reason = reasons.why_bake(image, self._list_own_steps(name), self._observed.last.images.get(name), cached)
            after = (f"bake {parent}",) if parent and parent not in self._observed.baked else ()
            steps.append(Step(op=Op.BAKE, resource=name, reason=reason, after=after))
        return steps

    def _list_own_steps(self, name: str) -> tuple[KeyedStep, ...]:
        """Return the steps of an image without those of its parent."""
        parent = self._spec.images[name].parent
        return self._images[name].chain[len(self._images[parent].chain) if parent else 0 :]

    def _plan_removals(self) -> list[Step]:
        gone = [name for name in self._observed.containers if name not in self._spec.containers]
        return [Step(op=Op.REMOVE, resource=name, reason="no longer in the env file") for name in gone]

    def _plan_network(self, changes: Mapping[str, _Change], *, after: tuple[str, ...]) -> list[Step]:
        desired = list_connected(self._spec)
        if not (desired or self._network_wanted or self._observed.names):
            return []  # without networked containers, /dev/net/tun is not required
        added = [name for name in desired if name not in self._observed.names]
        standing = self._observed.supervised and bool(self._observed.names)
        if (
            standing
            and not added
            and _list_published(self._observed.ports) == _list_published(self._observed.published)
        ):
            return []
        if not (standing or self._network_wanted or any(change.op for change in changes.values())):
            return []
        reason = reasons.why_network(
            standing=standing,
            added=added,
            ports=_list_hosts(self._observed.ports),
            was=_list_hosts(self._observed.published),
        )
        return [Step(op=Op.NETWORK, resource=self._spec.instance.name, reason=reason, after=after)]

    def _plan_copies(
        self, changes: Mapping[str, _Change], *, after: tuple[str, ...], stops: Sequence[Step] = ()
    ) -> list[Step]:
        """Plan the copies that seed the volumes of a new branch; containers that use a source volume stop first."""
        desired = {volume for name, spec in self._specs.items() if changes[name].op for volume in list_mounted(spec)}
        steps: list[Step] = []
        for volume, seed in branches.find_seeds(self._spec, self._observed).items():
            if volume not in desired:
                continue
            known = {step.resource for step in (*stops, *steps)}
            users = (name for name, spec in self._observed.last.specs.items() if seed in list_mounted(spec))
            still = tuple(name for name in users if name in self._observed.containers and name not in known)
            branch = f"the branch {branches.parse_branch(volume)} is new"
            if still:
                specs = self._spec.containers
                steps += takedown.plan_stops(specs, self._observed, still, reason=branch, after=after)
            before = (*after, *(step.id for step in steps if step.op == Op.STOP))
            steps.append(
                Step(op=Op.COPY, resource=volume, reason=f"{branch}: created as a copy of {seed}", after=before)
            )
        return steps

    def _decide_change(self, spec: ContainerSpec) -> _Change:
        seen = self._observed.containers.get(spec.name)
        done = seen is not None and spec.kind == "job" and seen.exit_code == 0 and self._observed.adoptable
        if seen is None or not (self._observed.supervised or _is_alive(seen) or done):
            return _Change(Op.START, reasons.why_start(None))
        if reason := self._why_replace(spec, seen):
            return _Change(Op.REPLACE, reason)
        if not (self._observed.supervised or done):
            return _Change(Op.START, reasons.TAKEN_OVER)
        if _has_ended(spec, seen):
            return _Change(Op.START, reasons.why_start(seen))
        return _Change(None)

    def _why_replace(self, spec: ContainerSpec, seen: ObservedContainer) -> str:
        """Explain why a container is replaced; "" if it is kept."""
        image = self._images[spec.image]
        if seen.image_key != image.key:
            last_image, baked = self._observed.last.images.get(spec.image), spec.image in self._observed.baked
            return reasons.why_other_image(image, self._list_own_steps(spec.image), last_image, baked=baked)
        if seen.spec_key != compute_spec_key(spec):
            return reasons.why_replace(spec, self._observed.last.specs.get(spec.name))
        return reasons.SETUP_REMOVED if seen.awaits_setup and spec.setup is None else ""

    def _plan_containers(self, changes: Mapping[str, _Change], *, after: tuple[str, ...]) -> list[Step]:
        steps: list[Step] = []
        ready: dict[str, tuple[str, ...]] = {}  # container → the step after which it is ready
        for name in order.list_start_order(self._specs):
            spec, change = self._specs[name], changes[name]
            needed = tuple(step for need in spec.needs for step in ready.get(need, ()))
            own_steps = self._plan_container(spec, change, after=(*after, *needed))
            steps += own_steps
            ready[name] = (own_steps[-1].id,) if own_steps else ()
        return steps

    def _plan_container(self, spec: ContainerSpec, change: _Change, *, after: tuple[str, ...]) -> list[Step]:
        steps = []
        if change.op:
            baking = (f"bake {spec.image}",) if spec.image not in self._observed.baked else ()
            steps.append(Step(op=change.op, resource=spec.name, reason=change.reason, after=(*after, *baking)))
        setup = self._plan_setup(spec, starts=change.op is not None, after=tuple(step.id for step in steps) or after)
        steps += setup
        seen = self._observed.containers.get(spec.name)
        waits = "" if change.op or seen is None else _describe_wait(seen)
        if setup or waits:
            reason = Reason.routine("its setup ran") if setup else f"it is {waits}"
            step_after = tuple(step.id for step in setup) or after
            steps.append(Step(op=Op.READY, resource=spec.name, reason=reason, after=step_after))
        return steps

    def _plan_setup(self, spec: ContainerSpec, *, starts: bool, after: tuple[str, ...]) -> list[Step]:
        """Plan a setup whose inputs changed, or that was interrupted; `starts`: the container is started first."""
        if spec.setup is None:
            return []
        files = self._observed.setup_files.get(spec.name, {})
        image_key, done = self._observed.tops.get(spec.name, ("", None))
        fresh = image_key != self._images[spec.image].key
        if not fresh and done == compute_setup_key(spec.setup, files) and (starts or not self._awaits_setup(spec)):
            return []
        last = self._observed.last.setup_files.get(spec.name)
        reason = reasons.why_setup(spec.setup, files, last, fresh=fresh or done is None)
        return [Step(op=Op.SETUP, resource=spec.name, reason=reason, after=after)]

    def _awaits_setup(self, spec: ContainerSpec) -> bool:
        seen = self._observed.containers.get(spec.name)
        return seen is not None and seen.awaits_setup


def _is_alive(seen: ObservedContainer) -> bool:
    return seen.state not in ("exited", "dead")


def _describe_wait(seen: ObservedContainer) -> str:
    """Describe why a container is not ready yet; "" if it is ready."""
    if seen.health in ("starting", "unhealthy"):
        return seen.health
    if seen.state in ("starting", "restarting"):
        return seen.state
    return "not stable since its last restart" if seen.crashes else ""


def _has_ended(spec: ContainerSpec, seen: ObservedContainer) -> bool:
    if seen.state == "stopping":
        return True
    if spec.kind == "job":
        return seen.state in ("exited", "dead") and seen.exit_code != 0
    if spec.kind == "scheduled":
        return not _is_alive(seen)  # between two runs, its state is "created"
    return seen.state in ("exited", "dead", "created")


def needs_wait(spec: ContainerSpec, seen: ObservedContainer) -> bool:
    """True if a container may no longer be ready, or has exited."""
    return bool(_describe_wait(seen)) or _has_ended(spec, seen)


def _list_hosts(published: Mapping[str, tuple[BoundPort, ...]]) -> tuple[int, ...]:
    return tuple(sorted(port.host for ports in published.values() for port in ports))


def _list_published(published: Mapping[str, tuple[BoundPort, ...]]) -> set[tuple[str, BoundPort]]:
    """Return every published port with its container."""
    return {(name, port) for name, ports in published.items() for port in ports}


def list_connected(spec: Spec) -> tuple[str, ...]:
    """Return the containers on the instance network: all except those with network = "none"."""
    return tuple(name for name, container in spec.containers.items() if container.isolation.network != "none")
