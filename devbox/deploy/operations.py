"""Operations on a running stage that deploy nothing: stop, restart, snapshots, and the plan of a deployment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from devbox.deploy import strategies
from devbox.deploy.observe import StageInputs
from devbox.deploy.strategies import RolloutInputs
from devbox.deploy.targets.local import LocalTarget
from devbox.engines import capabilities
from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.model.observed import Snapshot
from devbox.model.plan import Backend, Op, Plan, Reason, Step
from devbox.model.router import ROUTER
from devbox.model.spec import Desired
from devbox.model.stage import Deployment
from devbox.plan import order, takedown
from devbox.project import ApplyContext, apply, lock_instance, observe_best_effort

_ACTIVE = ("starting", "running", "restarting")


def plan_deployment(target: LocalTarget, deployment: Deployment) -> Plan:
    """Return the steps that would deploy a release now. Nothing is changed."""
    found, kind = target.observer.gather_inputs(deployment), deployment.stage.strategy.kind
    jobs = not target.observer.has_run_before(deployment)
    if kind == strategies.GRAY:
        return strategies.warm(found.rollout, after=found.infrastructure, jobs=jobs)
    return strategies.plan(found.rollout, strategy=kind, after=found.infrastructure, jobs=jobs)


def stop(target: LocalTarget, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers without removing them (default: all); replicas get no new requests before."""
    if names:
        return _operate(target, sink, names, strategies.stop)
    target.router.prepare_stop()
    with lock_instance(target.place, sink):
        empty = Desired(instance=target.build_instance(), images={}, containers={})
        observed = observe_best_effort(target.place, empty, sink)
        planned = takedown.stop(target.place.records.read_last_applied().specs, observed)
        apply(planned, ApplyContext(project=target.place, desired=empty, observed=observed, sink=sink))
    return planned


def restart(target: LocalTarget, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Restart containers one at a time, which get no requests while they are down.

    Default: all replicas, after services that were stopped.
    """
    if not target.has_router():
        raise UsageError(f"{target.stage} is stopped", remedy=f"start it: devbox promote {target.stage}")
    return _operate(target, sink, names, plan_restart)


def plan_restart(names: Iterable[str], rollout: RolloutInputs) -> Plan:
    """Plan the restart of these containers, services first. Pure.

    Replicas that the router does not know, as after a stop or a killed restart, get traffic before others lose it.
    """
    names = tuple(names)
    known, side = rollout.router.list_container_names(), rollout.router.live_side
    services = [each for each in names if each not in rollout.specs]
    absent = [each for each in names if each in rollout.specs and rollout.is_served(each) and each not in known]
    others = [each for each in names if each not in (*services, *absent)]
    steps = list(strategies.restart(services, rollout).steps)
    for name in absent:
        steps += _chain(steps, strategies.restart((name,), rollout).steps)
        steps += _chain(steps, (Step(op=Op.ADMIT, resource=Backend(side, name), reason=Reason.routine("requested")),))
    steps += _chain(steps, strategies.restart(others, rollout).steps)
    return Plan(steps=tuple(steps))


def _chain(before: list[Step], steps: tuple[Step, ...]) -> list[Step]:
    """Return the steps, whose first one follows the last one before."""
    last = tuple(step.id for step in before[-1:])
    return [replace(step, after=step.after or last) for step in steps]


def _list_default(found: StageInputs) -> tuple[str, ...]:
    """Return the stopped services of a stage, then all replicas."""
    seen, specs = found.observed.containers, found.resolved.containers
    stopped = {
        name
        for name in found.rollout.kept - {ROUTER}
        if name in seen and specs[name].kind != "job" and seen[name].state not in _ACTIVE
    }
    return (*(name for name in reversed(order.list_stop_order(specs)) if name in stopped), *found.rollout.services)


def save_snapshot(target: LocalTarget, name: str, sink: Sink, *, only: tuple[str, ...] = ()) -> Snapshot:
    """Save the volumes of a stage, or those of the containers or volumes in `only`; users are stopped meanwhile."""
    with _open_running(target, sink) as (deployment, found):
        volumes = _select_volumes(target, found, only)
        _copy_quiesced(target, Op.SAVE, name, volumes, deployment, found, sink)
    return find_snapshot(target, name)


def restore_snapshot(target: LocalTarget, name: str, sink: Sink) -> Snapshot:
    """Restore a snapshot of a stage; its current data is lost. Users of the volumes are stopped meanwhile."""
    with _open_running(target, sink) as (deployment, found):
        snapshot = find_snapshot(target, name)
        _copy_quiesced(target, Op.RESTORE, name, snapshot.volumes, deployment, found, sink)
    return snapshot


def find_snapshot(target: LocalTarget, name: str) -> Snapshot:
    """Return a snapshot of a stage by name. UsageError if there is none."""
    known = {
        each.name: each for each in capabilities.open_snapshots(target.place.engine, target.build_instance()).list_all()
    }
    if name not in known:
        raise UsageError(f"snapshot {name} not found in {target.stage}", remedy=f"known: {', '.join(known) or 'none'}")
    return known[name]


@contextlib.contextmanager
def _open_running(target: LocalTarget, sink: Sink) -> Iterator[tuple[Deployment, StageInputs]]:
    """Lock the stage, and yield its running deployment with the inputs of a plan; UsageError during a promotion."""
    with lock_instance(target.place, sink), target.router.poll_counts():
        known = target.record.read()
        if known.running is None or known.coming is not None:
            raise UsageError(
                f"a promotion to {target.stage} is in progress" if known.coming else f"{target.stage} runs nothing",
                remedy="devbox release status" if known.coming else f"devbox promote {target.stage}",
            )
        yield known.running, target.observer.gather_inputs(known.running)


def _operate(
    target: LocalTarget,
    sink: Sink,
    names: tuple[str, ...],
    make_plan: Callable[[Iterable[str], RolloutInputs], Plan],
) -> Plan:
    """Run a plan about containers of the running deployment."""
    if ROUTER in names:
        raise UsageError(
            f"the router of {target.stage} can only be stopped with its stage",
            remedy=f"devbox stop --stage {target.stage}",
        )
    with _open_running(target, sink) as (deployment, found):
        planned = make_plan(names or _list_default(found), found.rollout)
        target.apply_plan(planned, found, deployment, sink)
    return planned


def _select_volumes(target: LocalTarget, found: StageInputs, only: tuple[str, ...]) -> tuple[str, ...]:
    """Return the existing volumes of the selection. UsageError for an unknown name, or if there are none."""
    specs, existing = found.resolved.containers, found.observed.volumes
    owned = {name: takedown.list_mounted(spec) for name, spec in specs.items()}
    for name in only:
        if not owned.get(name) and name not in existing:
            raise UsageError(
                f"{target.stage} has no container with volumes, and no volume, named {name}",
                remedy=f"devbox volume ls --stage {target.stage}",
            )
    selected = [volume for name in only for volume in owned.get(name) or (name,)] if only else existing
    volumes = tuple(volume for volume in dict.fromkeys(selected) if volume in existing)
    if not volumes:
        raise UsageError(
            f"cannot save a snapshot: {target.stage} has no volumes", remedy=f"devbox volume ls --stage {target.stage}"
        )
    return volumes


def _copy_quiesced(
    target: LocalTarget,
    op: Op,
    name: str,
    volumes: tuple[str, ...],
    deployment: Deployment,
    found: StageInputs,
    sink: Sink,
) -> None:
    """Save or restore volumes while nothing uses them; always start the stopped containers again."""
    seen, specs = found.observed.containers, found.resolved.containers
    users = [each for each in takedown.find_users(volumes, specs) if each in seen and seen[each].state in _ACTIVE]
    stopping = [each for each in order.list_stop_order(specs) if each in users]
    stops = strategies.stop(stopping, found.rollout).steps
    reason = Reason.routine("requested")
    copy = Step(op=op, resource=name, reason=reason, after=tuple(step.id for step in stops))
    known = replace(found, observed=replace(found.observed, volumes=volumes))
    try:
        target.apply_plan(Plan(steps=(*stops, copy)), known, deployment, sink)
    finally:
        if stopping:
            again = strategies.start_again(reversed(stopping), found.rollout)
            target.apply_plan(again, target.observer.gather_inputs(deployment), deployment, sink)
