"""Rollout strategies, each as a sequence of the same steps. Pure.

`start` a container and verify its image; `admit` it to the router; `switch` the router to a side; `drain` a container:
no new requests, short ones end; `finish`: long connections end or are cut after the drain time; `remove` it; `retire`:
remove it early if it has no long connections. Resources left by a killed rollout are reused: completed steps are not
planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from devbox.deploy import stage_containers
from devbox.model.container import ContainerSpec, compute_spec_key
from devbox.model.observed import ObservedContainer
from devbox.model.plan import Backend, Op, Plan, Reason, Step
from devbox.model.router import BASELINE, GROUPS, RouterState, get_full_share
from devbox.plan import ports

VERIFIED = "traffic"
RECREATE, ROLLING, BLUE_GREEN, GRAY = "recreate", "rolling", "blue-green", "gray"
_REQUESTED = Reason.routine("requested")
_FRESH = "part of the baseline: a new replica of stable, for comparison with the canary"
VERIFYING = (ROLLING, BLUE_GREEN)  # strategies whose releases are observed by default


@dataclass(frozen=True, kw_only=True)
class RolloutInputs:
    """Inputs of a rollout. `specs`: of the new release; `served`: its processes behind the router.

    `kept`: services and the router. `draining`: containers without new requests that may still have connections.
    `baseline`: new replicas of stable among `specs`.
    """

    specs: Mapping[str, ContainerSpec]
    served: frozenset[str]
    standing: Mapping[str, ObservedContainer]
    router: RouterState
    kept: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()
    baseline: frozenset[str] = frozenset()

    @property
    def jobs(self) -> tuple[str, ...]:
        """Jobs, which run to completion first."""
        return tuple(name for name, spec in self.specs.items() if spec.kind == "job")

    @property
    def services(self) -> tuple[str, ...]:
        """Services of the new release."""
        return tuple(name for name, spec in self.specs.items() if spec.kind != "job" and name not in self.baseline)

    @property
    def others(self) -> tuple[str, ...]:
        """Containers to remove."""
        return tuple(name for name in self.standing if name not in self.specs and name not in self.kept)

    def is_served(self, name: str) -> bool:
        """True if the router serves a container."""
        return find_process(self.specs[name]) in self.served


def find_process(spec: ContainerSpec) -> str:
    """Return the process of a replica."""
    return spec.label.rpartition(".")[2]


def plan(rollout: RolloutInputs, *, strategy: str, after: Plan, jobs: bool = True, verify: float = 0.0) -> Plan:
    """Plan a complete rollout, after the steps `after`. `jobs`: False for a rollback.

    `verify`: seconds to observe the release before the previous one is removed, if it still runs.
    """
    steps = _PlanBuilder(rollout, before=tuple(step.id for step in after.steps))
    if jobs:
        steps.run_jobs()
    if strategy == RECREATE:
        _recreate(steps)
    elif strategy == ROLLING:
        _roll(steps)
    else:
        _warm(steps)
        _switch_traffic(steps)
    if verify:
        steps.add(Op.VERIFY, VERIFIED, f"observed for {verify:g} s, and rolled back if unhealthy")
    steps.drain_and_remove(rollout.others)
    return _assemble_plan(rollout, after, steps)


def warm(rollout: RolloutInputs, *, after: Plan, jobs: bool = True) -> Plan:
    """Plan to start the release on the idle side, without traffic."""
    steps = _PlanBuilder(rollout, before=tuple(step.id for step in after.steps))
    if jobs:
        steps.run_jobs()
    _warm(steps)
    return _assemble_plan(rollout, after, steps)


def _assemble_plan(rollout: RolloutInputs, after: Plan, steps: _PlanBuilder) -> Plan:
    plan = Plan(steps=(*after.steps, *steps.all))
    ports.check_steps(plan.steps, {*rollout.standing, *rollout.kept}, instance="the stage")
    return plan


def retire(names: Iterable[str], rollout: RolloutInputs) -> Plan:
    """Plan the removal of these containers."""
    steps = _PlanBuilder(rollout, before=())
    steps.drain_and_remove(tuple(names))
    return Plan(steps=tuple(steps.all))


def stop(names: Iterable[str], rollout: RolloutInputs) -> Plan:
    """Plan the stop of these containers: no new requests, then the end of open connections, then the stop."""
    return _plan_each(names, rollout, _PlanBuilder.stop)


def restart(names: Iterable[str], rollout: RolloutInputs) -> Plan:
    """Plan the restart of these containers one at a time: each gets no requests until it is ready again."""
    return _plan_each(names, rollout, _PlanBuilder.stop, _PlanBuilder.start_again)


def start_again(names: Iterable[str], rollout: RolloutInputs) -> Plan:
    """Plan the start of stopped containers, one at a time. `rollout`: from before the stop."""
    return _plan_each(names, rollout, _PlanBuilder.start_again)


def _plan_each(names: Iterable[str], rollout: RolloutInputs, *operations: Callable[[_PlanBuilder, str], None]) -> Plan:
    """Plan operations on one container after the other."""
    steps = _PlanBuilder(rollout, before=())
    for name in names:
        for operation in operations:
            operation(steps, name)
    return Plan(steps=tuple(steps.all))


@dataclass
class _PlanBuilder:
    """Builder of sequential steps; `before` are the predecessors of the next one."""

    rollout: RolloutInputs
    before: tuple[str, ...]
    all: list[Step] = field(default_factory=list)

    def add(self, op: Op, resource: str, reason: str) -> None:
        """Append a step after all others."""
        step = Step(op=op, resource=resource, reason=reason, after=self.before)
        if step.id not in {each.id for each in self.all}:
            self.all.append(step)
            self.before = (step.id,)

    def add_parallel(self, op: Op, names: Iterable[str], reason: str) -> None:
        """Append parallel steps."""
        self._append_parallel(Step(op=op, resource=name, reason=reason) for name in names)

    def _append_parallel(self, steps: Iterable[Step]) -> None:
        steps = [replace(step, after=self.before) for step in steps]
        self.all += steps
        self.before = tuple(step.id for step in steps) or self.before

    def run_jobs(self) -> None:
        """Append all jobs, each of which must succeed."""
        for name in self.rollout.jobs:
            if not _is_done(self.rollout, name):
                self.add(Op.START, name, "runs before the services")

    def start(self, names: Iterable[str]) -> None:
        """Append the starts of these and of the baseline, in parallel."""
        baseline = tuple(name for name in self.rollout.specs if name in self.rollout.baseline)
        reasons = dict.fromkeys(names, "part of the new release") | dict.fromkeys(baseline, _FRESH)
        missing = {name: reason for name, reason in reasons.items() if not _is_running(self.rollout, name)}
        self._append_parallel(Step(op=Op.START, resource=name, reason=why) for name, why in missing.items())

    def admit(self, names: Iterable[str], side: str) -> None:
        """Append the admission of these on a side."""
        absent = [
            name
            for name in names
            if self.rollout.is_served(name) and name not in self.rollout.router.list_container_names(side)
        ]
        self.add_parallel(Op.ADMIT, [Backend(side, name) for name in absent], "ready, with a verified image")

    def drain_and_remove(self, names: Iterable[str]) -> None:
        """Append the drain and removal of these."""
        step_ids = {step.id for step in self.all}
        gone = [name for name in names if f"remove {name}" not in step_ids]
        serving = self.drain(gone)
        self.add_parallel(Op.FINISH, serving, "connections may finish within the drain time")
        self.add_parallel(Op.REMOVE, gone, "not part of the release")

    def stop(self, name: str) -> None:
        """Append the drain and stop of a container."""
        if name in self.rollout.router.list_container_names():
            self.add(Op.DRAIN, name, _REQUESTED)
            self.add(Op.FINISH, name, "connections may finish within the drain time")
        self.add(Op.STOP, name, _REQUESTED)

    def start_again(self, name: str) -> None:
        """Append the start of a stopped container, and its admission where it was served."""
        served = [side for side in GROUPS if name in self.rollout.router.list_container_names(side)]
        self.add(Op.START, name, _REQUESTED)
        self.add_parallel(Op.ADMIT, [Backend(side, name) for side in served], "ready again")

    def drain(self, names: Iterable[str]) -> list[str]:
        """Append drains of these; return those that may still have connections."""
        names, step_ids = list(names), {step.id for step in self.all}
        serving = self.rollout.router.list_container_names()
        missing = [name for name in names if name in serving and f"drain {name}" not in step_ids]
        self.add_parallel(Op.DRAIN, missing, "not part of the release")
        return [name for name in names if name in serving or name in self.rollout.draining]


def _recreate(steps: _PlanBuilder) -> None:
    """Remove the old release before the new one starts: never both, with downtime in between."""
    rollout = steps.rollout
    _settle(steps)
    steps.drain_and_remove(rollout.others)
    steps.start(rollout.services)
    steps.admit(rollout.services, rollout.router.live_side)


def _roll(steps: _PlanBuilder) -> None:
    """Replace replicas one at a time on the live side."""
    rollout = steps.rollout
    _settle(steps)
    going = {process: _find_old_replicas(rollout, process) for process in map(find_process, rollout.specs.values())}
    for name in rollout.services:
        steps.start([name])
        steps.admit([name], rollout.router.live_side)
        if old := going[find_process(rollout.specs[name])]:
            gone = old.pop(0)
            steps.drain([gone])
            steps.add(Op.RETIRE, gone, "not part of the release")


def _warm(steps: _PlanBuilder) -> None:
    """Start the new release on the idle side, unless it serves already."""
    rollout = steps.rollout
    _settle(steps)
    idle = rollout.router.idle_side
    if _is_serving(rollout, rollout.router.live_side):
        return
    steps.drain_and_remove(name for name in rollout.others if name in rollout.router.list_container_names(idle))
    steps.start(rollout.services)
    steps.admit(rollout.services, idle)
    steps.admit(tuple(sorted(rollout.baseline)), BASELINE)


def _switch_traffic(steps: _PlanBuilder) -> None:
    """Switch all traffic at once."""
    rollout = steps.rollout
    if _is_serving(rollout, rollout.router.live_side):
        steps.start(rollout.services)
        steps.admit(rollout.services, rollout.router.live_side)
    elif rollout.served:
        steps.add(Op.SWITCH, rollout.router.idle_side, "the new release is ready")


def _settle(steps: _PlanBuilder) -> None:
    """Move split traffic to the side with most of it."""
    router = steps.rollout.router
    if router.share != get_full_share(router.live_side):
        steps.add(Op.SWITCH, router.live_side, "an unfinished rollout is abandoned")


def _is_serving(rollout: RolloutInputs, side: str) -> bool:
    """True if a container of the release is on the side."""
    return any(name in rollout.router.list_container_names(side) for name in rollout.services)


def _find_old_replicas(rollout: RolloutInputs, process: str) -> list[str]:
    """Return other releases' replicas of a process, named NAME-NUMBER-DIGITS."""
    return [
        name
        for name in rollout.others
        if name.rsplit("-", 2)[0] == process and stage_containers.parse_mark(rollout.standing[name].image)
    ]


def _is_running(rollout: RolloutInputs, name: str) -> bool:
    seen = rollout.standing.get(name)
    return (
        seen is not None
        and seen.state == "running"
        and seen.health in ("healthy", "none")
        and seen.spec_key == compute_spec_key(rollout.specs[name])
    )


def _is_done(rollout: RolloutInputs, name: str) -> bool:
    seen = rollout.standing.get(name)
    return seen is not None and seen.exit_code == 0 and seen.spec_key == compute_spec_key(rollout.specs[name])
