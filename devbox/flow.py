"""READ FIRST. The story of every command: load → resolve → observe → diff → execute → record, each verb a few lines.

A project is opened, its file becomes a `Resolved` (what should be), one look at the machine an `Observed` (what is),
their difference a `Plan`, which is printed by `plan` and run by `up`. What is decided here is only the order of verbs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from devbox.engines.contract import Engine
from devbox.envfile import hostaccess
from devbox.errors import EngineError, NotReady, UsageError
from devbox.execute import shims
from devbox.execute.again import with_another_look
from devbox.execute.events import Note, Sink
from devbox.execute.oneshot import Command, oneshot
from devbox.images import budget, gate
from devbox.isolation.inside import agent
from devbox.model.container import Limits
from devbox.model.observed import Observed
from devbox.model.plan import Plan
from devbox.model.resolved import HostAccess, Resolved
from devbox.opened import (
    Project,
    carry_out,
    check_names,
    complete_lock,
    exclusive,
    fixed,
    instance,
    lending,
    load,
    load_trusted,
    look,
)
from devbox.plan import activation as activating
from devbox.plan import diff as differ
from devbox.plan import installs, order, remembered, takedown, tools
from devbox.plan.ports import remember
from devbox.records.trust import TrustRecord


@dataclass(frozen=True)
class Outcome:
    """What a command found and did: the plan it ran, on what."""

    plan: Plan
    resolved: Resolved
    observed: Observed


def host_access(opened: Project) -> tuple[HostAccess, ...]:
    """What the file wants of this machine beside containers; `devbox trust` allows it."""
    return hostaccess.wanted(load(opened))


def install_access(opened: Project) -> tuple[HostAccess, ...]:
    """What `devbox install` would put onto this machine; `devbox trust` allows it, too."""
    return installs.access(load(opened))


def stage_access(opened: Project) -> tuple[HostAccess, ...]:
    """What stages want of this machine when something is promoted; `devbox trust` allows it, too."""
    return hostaccess.of_stages(load(opened))


def shell_access(opened: Project) -> tuple[HostAccess, ...]:
    """What the shell of whoever enters the project would get (`devbox hook`); `devbox trust` allows it, too."""
    return activating.offered(load(opened))


def activation(opened: Project) -> activating.Activation | None:
    """What it gets; None where the user has not allowed it as it is now."""
    resolved = load(opened)
    if not TrustRecord(opened.paths, opened.id).activates(activating.offered(resolved)):
        return None
    return activating.Activation(
        root=opened.root,
        path=opened.paths.shims(opened.id) if activating.shims(resolved) else "",
        variables=activating.variables(resolved, opened.records.ports()),
    )


def plan(opened: Project, *, locked: bool = False) -> Outcome:
    """What `up` would do; with `locked`, NotLocked where it would have to write the lock."""
    resolved = fixed(opened, load(opened), locked=locked)
    observed = look(opened, resolved)
    return Outcome(differ.diff(resolved, observed), resolved, observed)


@with_another_look
def up(
    opened: Project,
    sink: Sink,
    *,
    names: tuple[str, ...] | None = None,
    wait: bool = True,
    locked: bool = False,
    terminal: int | None = None,
) -> Outcome:
    """Bring the instance to what the file wants; returns when everything is ready (started, without `wait`).

    What the lock lacks is written into it; with `locked` that is NotLocked, and nothing is. On a
    `terminal` (a descriptor), a step that fails gets a shell.
    """
    with exclusive(opened, sink):
        resolved = load_trusted(opened, locked=locked)
        check_names(resolved, names)
        observed = look(opened, resolved)
        made = differ.diff(resolved, observed, names=names)
        shims.refresh(opened.paths.shims(opened.id), resolved.instance, tools.shims(resolved.tools))
        for sentence in (*observed.notes, *((*resolved.later, *_unenforced(opened.engine, resolved)) if made else ())):
            sink(Note(text=sentence))
        if made:
            opened.store.sweep()
            opened.records.remember_place(opened.root, opened.env_file)
            opened.records.remember_ports(remember(observed.ports))
            standing = _standing(opened, observed, names, sink, locked=locked)
            resolved = carry_out(
                opened, made, resolved, observed, sink, wait=wait, locked=locked, terminal=terminal, standing=standing
            )
            if wait:
                _confirm(opened, resolved, names)
            if any(step.op == "bake" for step in made.steps) and (warning := budget.warning(opened.paths)):
                sink(Note(text=warning))
        elif resolved.unlocked and not locked:
            complete_lock(opened, resolved, sink)
        agent.follow(opened.paths, opened.id)
        return Outcome(made, resolved, observed)


def down(opened: Project, sink: Sink, *, volumes: bool = False, name: str = "") -> Plan:
    """Stop everything and leave nothing running; with `volumes` the data goes, too. Works with a broken file.

    `name`: what steps call the instance; its directory's name when left out.
    """
    if os.path.isdir(opened.paths.tests(opened.id)):
        from devbox.matrix import standing

        standing.leave(opened, sink, volumes=volumes)
    with exclusive(opened, sink):
        opened.store.sweep()
        last = opened.records.last()
        called = instance(opened, name or os.path.basename(opened.root))
        resolved = Resolved(instance=called, images={}, containers={})
        observed = _look_anyhow(opened, resolved, sink)
        made = takedown.down(last.specs, observed, project=resolved.instance.name, volumes=volumes)
        carry_out(opened, made, resolved, observed, sink, volumes=volumes)
        if volumes:
            shims.remove(opened.paths.shims(opened.id))
            opened.records.forget()
        return made


def stop(opened: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers; `up` starts them again."""
    with exclusive(opened, sink):
        resolved = load(opened)
        check_names(resolved, names)
        observed = look(opened, replace(resolved, images={}, containers={}))  # stopping wants nothing of the host
        made = takedown.stop(resolved.containers, observed, names=names)
        carry_out(opened, made, resolved, observed, sink)
        return made


def restart(opened: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers and start them again, as the file now wants them; what is to be baked is baked before."""
    with exclusive(opened, sink):
        resolved = load_trusted(opened)
        check_names(resolved, names)
        observed = look(opened, resolved)
        if not (observed.supervised or observed.containers):
            raise UsageError("nothing is up, so there is nothing to restart", remedy="devbox up")
        made = differ.restart(resolved, observed, names=names)
        carry_out(opened, made, resolved, observed, sink, standing=_standing(opened, observed, names or None, sink))
        _confirm(opened, resolved, names or None)
        return made


def run_once(opened: Project, command: Command, sink: Sink, *, source: str = "dev", tty: bool = False) -> int:
    """Run a command in a one-shot container of `source`'s image on the project network, its needs started."""
    from devbox.execute.actions import request
    from devbox.execute.asking import Secrets

    with contextlib.ExitStack() as lease:
        with exclusive(opened, sink):
            resolved = load_trusted(opened)
            spec = oneshot(resolved, source, command, name=f"run-{os.getpid()}")
            observed = look(opened, resolved)
            made = differ.diff(
                resolved, observed, names=spec.needs, images=(spec.image,), network=spec.isolation.network != "none"
            )
            if made:
                opened.records.remember_place(opened.root, opened.env_file)
                opened.records.remember_ports(remember(observed.ports))
                resolved = carry_out(opened, made, resolved, observed, sink)
                complete_lock(opened, resolved, sink)
            with lending(opened.asks, sink) as lender:
                secrets = Secrets(resolved, terminal=lender)
                wanted = request(spec, resolved, observed, opened.store, secrets)
            lease.enter_context(gate.leased(opened.paths, wanted.image.key))
        return opened.engine.run_once(resolved.instance, wanted, tty=tty)


def _standing(
    opened: Project, observed: Observed, names: tuple[str, ...] | None, sink: Sink, *, locked: bool = False
) -> Callable[[Resolved], None]:
    """What is done once the containers stand: what they were made from is written down, and what the lock lacked."""

    def write(resolved: Resolved) -> None:
        opened.records.remember(remembered.after(resolved, observed, names))
        if not locked:
            complete_lock(opened, resolved, sink)

    return write


def _confirm(opened: Project, resolved: Resolved, names: tuple[str, ...] | None) -> None:
    """Look once more: what was ready may have crashed while others became ready. NotReady where it does not recover."""
    seen = opened.engine.observe(resolved.instance).containers
    for name in sorted(order.chosen(resolved, names) & seen.keys()):
        spec = resolved.containers[name]
        if differ.is_to_be_awaited(spec, seen[name]):
            try:
                opened.engine.wait_ready(resolved.instance, name)
            except NotReady as error:
                error.where = error.where or spec.where
                raise


def _unenforced(engine: Engine, resolved: Resolved) -> tuple[str, ...]:
    """What a person should know of limits that this machine does not enforce for this user."""
    limited = [spec.label for spec in resolved.containers.values() if spec.limits != Limits()]
    if not limited or engine.capabilities.limits:
        return ()
    return (f"limits are not enforced here ({', '.join(limited)}): devbox doctor says what to do",)


def _look_anyhow(opened: Project, resolved: Resolved, sink: Sink) -> Observed:
    """One look for `down`, which works whatever is written about the instance: then all that stands is taken down."""
    try:
        return look(opened, resolved)
    except EngineError as error:
        sink(Note(text=error.sentence))
        return Observed(supervised=False, standing=True)
