"""READ FIRST. The main flow of every command: load → resolve → observe → diff → execute → record.

A project is opened, its env file becomes a `Spec` (desired state), one observation of the host an `Observed`, their
difference a `Plan`, which `plan` prints and `up` runs. This module decides only the order of the verbs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from devbox.engines import capabilities
from devbox.engines.engine import Engine
from devbox.envfile import host_access
from devbox.errors import NotReady, PortTaken, UsageError
from devbox.execute import hooks
from devbox.execute.events import Note, Sink
from devbox.images import image_store
from devbox.images.store import lock
from devbox.isolation import exec
from devbox.model.container import Limits
from devbox.model.host_access import HostAccess
from devbox.model.observed import Observed
from devbox.model.plan import Op, Plan
from devbox.model.spec import Desired, Spec
from devbox.plan import activation as activating
from devbox.plan import diff as differ
from devbox.plan import installs, locking, order, takedown, tasks
from devbox.plan.ports import remember
from devbox.plan.tasks import OneShotCommand, build_oneshot
from devbox.project import (
    ApplyContext,
    ApplyOptions,
    ApplyResult,
    LockPolicy,
    Project,
    TrustPolicy,
    apply,
    build_instance,
    check_names,
    complete_lock,
    lend_terminal,
    lock_instance,
    observe_best_effort,
    observe_instance,
    prepare,
)
from devbox.records.trust import TrustRecord


@dataclass(frozen=True)
class PlanResult:
    """The plan of a command, with the spec and the observation that the plan was made from."""

    plan: Plan
    resolved: Desired
    observed: Observed


def list_host_access(project: Project) -> tuple[HostAccess, ...]:
    """Return the host access that the env file requests beyond containers; `devbox trust` allows it."""
    return host_access.list_access(prepare(project))


def list_install_access(project: Project) -> tuple[HostAccess, ...]:
    """Return the host access of `devbox install`; `devbox trust` allows it."""
    return installs.list_access(prepare(project))


def list_stage_access(project: Project) -> tuple[HostAccess, ...]:
    """Return the host access of stages during promotions; `devbox trust` allows it."""
    return host_access.list_stage_access(prepare(project))


def list_shell_access(project: Project) -> tuple[HostAccess, ...]:
    """Return the changes to the user's shell (`devbox hook`); `devbox trust` allows them."""
    return activating.list_access(prepare(project))


def load_activation(project: Project) -> activating.Activation | None:
    """Return the shell activation of the project, or None unless the user has allowed its current form."""
    desired = prepare(project)
    if not TrustRecord(project.paths, project.id).covers_shell(activating.list_access(desired)):
        return None
    return activating.Activation(
        root=project.root,
        path=project.paths.shims(project.id) if activating.list_shims(desired) else "",
        variables=activating.build_variables(desired, project.records.read_ports()),
    )


def plan(project: Project, *, names: tuple[str, ...] | None = None, locked: bool = False) -> PlanResult:
    """Return the plan of `up`, with `names` only of these containers and their needs.

    With `locked`, raise NotLocked if the lockfile would have to be written.
    """
    desired = prepare(project, lock=LockPolicy.from_flag(locked=locked))
    check_names(desired, names)
    observed = observe_instance(project, desired)
    return PlanResult(differ.diff(desired, observed, names=names), desired, observed)


_TIMES = 2

P = ParamSpec("P")
ProjectT = TypeVar("ProjectT")
R = TypeVar("R")


def retry_on_port_conflict(
    verb: Callable[Concatenate[ProjectT, Sink, P], R],
) -> Callable[Concatenate[ProjectT, Sink, P], R]:
    """Repeat a verb that lost a port to another program. Completed work is observed and kept."""

    @wraps(verb)
    def retry(project: ProjectT, sink: Sink, /, *args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(_TIMES):
            try:
                return verb(project, sink, *args, **kwargs)
            except PortTaken as lost:
                sink(Note(text=f"{lost.sentence}: trying again"))
        return verb(project, sink, *args, **kwargs)

    return retry


@retry_on_port_conflict
def up(
    project: Project,
    sink: Sink,
    *,
    names: tuple[str, ...] | None = None,
    wait: bool = True,
    needs: bool = True,
    locked: bool = False,
    terminal: int | None = None,
) -> PlanResult:
    """Converge the instance to the env file; return when everything is ready (without `wait`: started).

    Missing lockfile entries are added; with `locked`, raise NotLocked instead. Without `needs`, only the containers in
    `names` start. With `terminal` (a file descriptor), a failing build step opens a shell.
    """
    with lock_instance(project, sink):
        desired = prepare(project, lock=LockPolicy.from_flag(locked=locked), trust=TrustPolicy.REQUIRE)
        check_names(desired, names)
        observed = observe_instance(project, desired)
        planned = differ.diff(desired, observed, names=names)
        if names and not needs:
            planned = differ.drop_needs(planned, names)
        hooks.refresh_shims(project.paths.shims(project.id), desired.instance, tasks.list_shims(desired.tools))
        for sentence in (
            *observed.notes,
            *((*desired.later, *_list_unenforced_limits(project.engine, desired)) if planned else ()),
        ):
            sink(Note(text=sentence))
        if planned:
            project.store.sweep()
            project.records.record_place(project.root, project.env_file)
            project.records.record_ports(remember(observed.ports))
            record = _make_recorder(project, desired, observed, names, sink, locked=locked)
            options = ApplyOptions(wait=wait, locked=locked, terminal=terminal, on_running=record)
            context = ApplyContext(project=project, desired=desired, observed=observed, sink=sink, options=options)
            desired = desired.derive(images=apply(planned, context).images)
            if wait:
                _confirm(project, desired, order.select_containers(desired, names) if needs else names or ())
            if any(step.op == Op.BAKE for step in planned.steps) and (
                warning := image_store.check_budget(project.paths)
            ):
                sink(Note(text=warning))
        elif desired.unlocked and not locked:
            complete_lock(project, desired, sink)
        exec.link_agent(project.paths, project.id)
        return PlanResult(planned, desired, observed)


def down(project: Project, sink: Sink, *, volumes: bool = False, name: str = "") -> Plan:
    """Stop and remove everything, with `volumes` the data, too. Works with an invalid env file.

    `name`: instance name in steps; default: the name of the project directory.
    """
    if os.path.isdir(project.paths.tests(project.id)):
        from devbox.matrix import reaper

        reaper.remove_cells(project, sink, volumes=volumes)
    with lock_instance(project, sink):
        project.store.sweep()
        last = project.records.read_last_applied()
        called = build_instance(project, name or os.path.basename(project.root))
        empty = Desired(instance=called, images={}, containers={})
        observed = observe_best_effort(project, empty, sink)
        planned = takedown.down(last.specs, observed, project=called.name, volumes=volumes)
        options = ApplyOptions(volumes=volumes)
        apply(planned, ApplyContext(project=project, desired=empty, observed=observed, sink=sink, options=options))
        if volumes:
            hooks.remove_shims(project.paths.shims(project.id))
            project.records.forget()
        return planned


def remove(project: Project, sink: Sink, *, names: tuple[str, ...], volumes: bool = False) -> Plan:
    """Stop and remove containers, with `volumes` also the data that only they use; `up` creates them again."""
    with lock_instance(project, sink):
        desired = prepare(project)
        check_names(desired, names)
        empty = Spec(instance=desired.instance, images={}, containers={})
        observed = observe_instance(project, empty)
        planned = takedown.remove(desired.containers, observed, names=names)
        apply(planned, ApplyContext(project=project, desired=desired, observed=observed, sink=sink))
        kept = takedown.find_own_volumes(desired.containers, observed, names=names) if volumes else ()
        for volume in kept:
            capabilities.open_snapshots(project.engine, desired.instance).remove_volume(volume)
            sink(Note(text=f"removed volume {volume}"))
        return planned


def stop(project: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers; `up` starts them again."""
    with lock_instance(project, sink):
        desired = prepare(project)
        check_names(desired, names)
        empty = Spec(instance=desired.instance, images={}, containers={})  # stopping requires no host access
        observed = observe_instance(project, empty)
        planned = takedown.stop(desired.containers, observed, names=names)
        apply(planned, ApplyContext(project=project, desired=desired, observed=observed, sink=sink))
        return planned


def recreate(project: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> None:
    """Restart containers if any run: the preparation of an `up` that leaves no container as it was."""
    if project.engine.observe(build_instance(project, "")).containers:
        restart(project, sink, names=names)


def restart(project: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers and start them from the current env file; images are built before the stop."""
    with lock_instance(project, sink):
        desired = prepare(project, lock=LockPolicy.PIN, trust=TrustPolicy.REQUIRE)
        check_names(desired, names)
        observed = observe_instance(project, desired)
        if not (observed.supervised or observed.containers):
            raise UsageError("cannot restart: nothing is running", remedy="devbox up")
        planned = differ.restart(desired, observed, names=names)
        record = _make_recorder(project, desired, observed, names or None, sink)
        options = ApplyOptions(on_running=record)
        apply(planned, ApplyContext(project=project, desired=desired, observed=observed, sink=sink, options=options))
        _confirm(project, desired, order.select_containers(desired, names or None))
        return planned


def run_once(project: Project, command: OneShotCommand, sink: Sink, *, source: str = "dev", tty: bool = False) -> int:
    """Run a command in a one-shot container of `source`'s image on the project network after starting its needs."""
    from devbox.execute.actions import build_request
    from devbox.execute.terminal import SecretResolver

    with contextlib.ExitStack() as lease:
        with lock_instance(project, sink):
            desired = prepare(project, lock=LockPolicy.PIN, trust=TrustPolicy.REQUIRE)
            spec = build_oneshot(desired, source, command, name=f"run-{os.getpid()}")
            observed = observe_instance(project, desired)
            planned = differ.diff(
                desired, observed, names=spec.needs, images=(spec.image,), network=spec.isolation.network != "none"
            )
            if planned:
                project.records.record_place(project.root, project.env_file)
                project.records.record_ports(remember(observed.ports))
                result = apply(planned, ApplyContext(project=project, desired=desired, observed=observed, sink=sink))
                desired = desired.derive(images=result.images)
                complete_lock(project, desired, sink)
            with lend_terminal(project.asks, sink) as lender:
                secrets = SecretResolver(desired, terminal=lender)
                required = build_request(spec, desired.images, observed, project.store, secrets)
            lease.enter_context(lock.lease_image(project.paths, required.image.key))
        return capabilities.run_once(project.engine, desired.instance, required, tty=tty)


def _make_recorder(
    project: Project,
    desired: Desired,
    observed: Observed,
    names: tuple[str, ...] | None,
    sink: Sink,
    *,
    locked: bool = False,
) -> Callable[[ApplyResult], None]:
    """Return the callback that records the applied spec and the new lockfile entries once the containers run."""

    def record(result: ApplyResult) -> None:
        applied = desired.derive(images=result.images)
        project.records.record_applied(locking.find_last_applied(applied, observed, names))
        if not locked:
            complete_lock(project, applied, sink)

    return record


def _confirm(project: Project, spec: Spec, names: Iterable[str]) -> None:
    """Observe again: a ready container may have crashed since. Raise NotReady if it does not recover."""
    seen = project.engine.observe(spec.instance).containers
    for name in sorted(seen.keys() & set(names)):
        container = spec.containers[name]
        if differ.needs_wait(container, seen[name]):
            try:
                project.engine.wait_ready(spec.instance, name)
            except NotReady as error:
                error.where = error.where or container.where
                raise


def _list_unenforced_limits(engine: Engine, spec: Spec) -> tuple[str, ...]:
    """Return a note about limits that the host cannot enforce for this user, if any are set."""
    limited = [container.label for container in spec.containers.values() if container.limits != Limits()]
    if not limited or capabilities.has_limits(engine):
        return ()
    return (f"limits are not enforced on the host ({', '.join(limited)}); find the cause with: devbox doctor",)
