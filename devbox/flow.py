"""READ FIRST. The story of every command: load → resolve → observe → diff → execute → record, each verb a few lines.

A project is opened, its file becomes a `Resolved` (what should be), one look at the machine an `Observed` (what is),
their difference a `Plan`, which is printed by `plan` and run by `up`. What is decided here is only the order of verbs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from devbox.engines.contract import Engine
from devbox.engines.select import select
from devbox.envfile import secrets
from devbox.errors import BakeFailed, DevboxError, EngineError, NotTrusted, UsageError
from devbox.execute.again import with_another_look
from devbox.execute.contexts import with_contexts
from devbox.execute.events import Note, Sink
from devbox.execute.observe import observe
from devbox.execute.oneshot import Command, oneshot
from devbox.host import files, project
from devbox.host.paths import Paths, default_paths
from devbox.host.version import reader_id
from devbox.images import budget, gate
from devbox.images.store import ImageStore
from devbox.model.container import Limits
from devbox.model.ids import instance_id
from devbox.model.image import Baked, KeyedImage, keyed
from devbox.model.observed import Observed
from devbox.model.plan import Plan
from devbox.model.resolved import HostAccess, Instance, Resolved, Task
from devbox.model.verdict import Verdict
from devbox.plan import diff as differ
from devbox.plan import locking, remembered, takedown, why
from devbox.plan.order import task_order
from devbox.plan.ports import remember
from devbox.records import resolved_cache
from devbox.records.instance import InstanceRecords
from devbox.records.trust import TrustRecord


@dataclass(frozen=True)
class Project:
    """An opened project: where it lies, where its state is kept, and what runs its containers."""

    root: str
    env_file: str
    id: str
    paths: Paths
    engine: Engine
    store: ImageStore
    records: InstanceRecords


@dataclass(frozen=True)
class Outcome:
    """What a command found and did: the plan it ran, on what."""

    plan: Plan
    resolved: Resolved
    observed: Observed


def open_project(start: str, *, file: str | None = None) -> Project:
    """The project at or above a directory; nothing is read yet."""
    root, env_file = project.find(start, file=file)
    paths = default_paths()
    key = instance_id(root, env_file)
    return Project(
        root=root,
        env_file=env_file,
        id=key,
        paths=paths,
        engine=select(paths),
        store=ImageStore(paths),
        records=InstanceRecords(paths, key),
    )


def load(opened: Project, *, held: bool = False) -> Resolved:
    """The file, resolved: from the cache when nothing it was made from has changed. `held`: by the caller, exclusively.

    What comes from env files may be secret and reaches no disk: it is kept in the runtime directory, which only the
    holder of the instance may write to, since `down` removes it.
    """
    lasting, fleeting = opened.paths.project(opened.id), opened.paths.run(opened.id)
    cached = resolved_cache.read(lasting, reader_id()) or resolved_cache.read(fleeting, reader_id())
    if cached is not None and cached.instance == _instance(opened, cached.instance.name):
        return with_contexts(cached)
    from devbox.envfile.load import load as read
    from devbox.envfile.resolve import credentials_wanted, resolve
    from devbox.execute.locks import Locks

    env = read(opened.root, file=opened.env_file)
    opened.records.remember_place(opened.root, opened.env_file)
    credentials = opened.records.credentials(credentials_wanted(env))
    resolved = resolve(env, instance=_instance(opened, env.name), credentials=credentials)
    lock = Locks(resolved.instance)
    resolved = lock.apply(resolved)
    directory = fleeting if env.env_files else lasting
    if not env.env_files or (held and resolved_cache.may_hold_secrets(directory)):
        resolved_cache.write(directory, resolved, reader_id(), inputs=(*env.inputs, lock.path), variables=env.variables)
    return with_contexts(resolved)


def host_access(opened: Project) -> tuple[HostAccess, ...]:
    """What the file wants of this machine beside containers; `devbox trust` allows it."""
    return secrets.host_access(load(opened).containers.values(), root=opened.root)


def look(opened: Project, resolved: Resolved) -> Observed:
    """One look at the machine."""
    return observe(resolved, engine=opened.engine, store=opened.store, records=opened.records, paths=opened.paths)


def plan(opened: Project, *, locked: bool = False) -> Outcome:
    """What `up` would do; with `locked`, NotLocked where it would have to write the lock."""
    resolved = _fixed(opened, load(opened), locked=locked)
    observed = look(opened, resolved)
    return Outcome(differ.diff(resolved, observed), resolved, observed)


@with_another_look
def up(
    opened: Project, sink: Sink, *, names: tuple[str, ...] | None = None, wait: bool = True, locked: bool = False
) -> Outcome:
    """Bring the instance to what the file wants; returns when everything is ready (started, without `wait`).

    What the lock lacks is written into it; with `locked` that is NotLocked, and nothing is.
    """
    with exclusive(opened, sink):
        resolved = _load_trusted(opened, locked=locked)
        _check_names(resolved, names)
        observed = look(opened, resolved)
        made = differ.diff(resolved, observed, names=names)
        for sentence in (*observed.notes, *((*resolved.later, *_unenforced(opened.engine, resolved)) if made else ())):
            sink(Note(text=sentence))
        if made:
            opened.store.sweep()
            opened.records.remember_place(opened.root, opened.env_file)
            opened.records.remember_ports(remember(observed.ports))
            resolved = _execute(opened, made, resolved, observed, sink, wait=wait, locked=locked)
            opened.records.remember(remembered.after(resolved, observed, names))
            if any(step.op == "bake" for step in made.steps) and (warning := budget.warning(opened.paths)):
                sink(Note(text=warning))
        if (made or resolved.unlocked) and not locked:
            _complete_lock(opened, resolved, sink)
        return Outcome(made, resolved, observed)


def lock(opened: Project, sink: Sink, *, names: tuple[str, ...] | None = None) -> list[str]:
    """Bake by what there is now, and write it into the lock: all, or what `names` call. What changed, a line each."""
    from devbox.execute import locks

    with exclusive(opened, sink):
        resolved = load(opened, held=True)
        loose, images = locking.opened(resolved.images, names)
        resolved = replace(resolved, images=loose)
        opened.store.sweep()
        made = differ.bakes(resolved, images)
        nothing = Observed(supervised=False)
        baked = _execute(opened, made, resolved, nothing, sink, renewed=set())
        return locks.Locks(resolved.instance).renew(locks.fixed(baked, opened.store))


def why_image(opened: Project, name: str) -> tuple[Verdict, ...]:
    """What changed about an image of the file since it was baked last. `name` as in the file: `py`, `base.py`, `db`."""
    resolved = _fixed(opened, load(opened), locked=False)
    full = next((image for image in resolved.images if name in (image, image.partition(".")[2])), None)
    if full is None:
        known = ", ".join(resolved.images) or "none"
        raise UsageError(f"there is no image {name} in {opened.env_file}", remedy=f"known: {known}")
    image = keyed(full, resolved.images)
    baked = opened.store.find(image.key)
    return why.why_image(image, opened.records.last().images.get(full), baked.digest if baked else None)


def check_lock(opened: Project) -> None:
    """NotLocked where the lock does not hold all that the file wants."""
    from devbox.execute.locks import Locks

    resolved = load(opened)
    Locks(resolved.instance).demand(resolved, resolved.images)


def down(opened: Project, sink: Sink, *, volumes: bool = False) -> Plan:
    """Stop everything and leave nothing running; with `volumes` the data goes, too. Works with a broken file."""
    with exclusive(opened, sink):
        opened.store.sweep()
        last = opened.records.last()
        resolved = Resolved(instance=_instance(opened, os.path.basename(opened.root)), images={}, containers={})
        observed = _look_anyhow(opened, resolved, sink)
        made = takedown.down(last.specs, observed, project=resolved.instance.name, volumes=volumes)
        _execute(opened, made, resolved, observed, sink, volumes=volumes)
        if volumes:
            opened.records.forget()
        return made


def stop(opened: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers; `up` starts them again."""
    with exclusive(opened, sink):
        resolved = load(opened)
        _check_names(resolved, names)
        observed = look(opened, replace(resolved, images={}, containers={}))  # stopping wants nothing of the host
        made = takedown.stop(resolved.containers, observed, names=names)
        _execute(opened, made, resolved, observed, sink)
        return made


def restart(opened: Project, sink: Sink, *, names: tuple[str, ...] = ()) -> Plan:
    """Stop containers and start them again, as the file now wants them; what is to be baked is baked before."""
    with exclusive(opened, sink):
        resolved = _load_trusted(opened)
        _check_names(resolved, names)
        observed = look(opened, resolved)
        if not (observed.supervised or observed.containers):
            raise UsageError("nothing is up, so there is nothing to restart", remedy="devbox up")
        made = differ.restart(resolved, observed, names=names)
        resolved = _execute(opened, made, resolved, observed, sink)
        opened.records.remember(remembered.after(resolved, observed, names or None))
        _complete_lock(opened, resolved, sink)
        return made


def run_once(opened: Project, command: Command, sink: Sink, *, source: str = "dev", tty: bool = False) -> int:
    """Run a command in a one-shot container of `source`'s image on the project network, its needs started."""
    from devbox.execute.actions import request

    with contextlib.ExitStack() as lease:
        with exclusive(opened, sink):
            resolved = _load_trusted(opened)
            spec = oneshot(resolved, source, command, name=f"run-{os.getpid()}")
            observed = look(opened, resolved)
            made = differ.diff(resolved, observed, names=spec.needs, images=(spec.image,), network=True)
            if made:
                opened.records.remember_place(opened.root, opened.env_file)
                opened.records.remember_ports(remember(observed.ports))
                resolved = _execute(opened, made, resolved, observed, sink)
                _complete_lock(opened, resolved, sink)
            wanted = request(spec, resolved, observed, opened.store)
            lease.enter_context(gate.leased(opened.paths, wanted.image.key))
        return opened.engine.run_once(resolved.instance, wanted, tty=tty)


def tasks(opened: Project, name: str) -> tuple[Task, ...]:
    """The task `name` of the file and what it needs, in the order to run them in dev."""
    resolved = load(opened)
    if name not in resolved.tasks:
        known = ", ".join(resolved.tasks) or "none"
        raise UsageError(f"there is no task {name} in {opened.env_file}", remedy=f"known: {known}")
    return task_order(name, resolved.tasks)


def baked(opened: Project, name: str) -> Baked | None:
    """The image of the table `name` ("dev", "service.db") as the store has it; None when the file has no such table."""
    resolved = load(opened)
    if name not in resolved.images:
        return None
    found = opened.store.find(keyed(name, resolved.images).key)
    if found is None:
        raise BakeFailed(f"the image of [{name}] is not baked as the file has it", remedy="devbox up")
    return found


def wanted_images(opened: Project) -> tuple[KeyedImage, ...]:
    """The images of the file, by its lock and by what earlier bakes took."""
    resolved = _fixed(opened, load(opened), locked=False)
    return tuple(keyed(name, resolved.images) for name in resolved.images)


def _unenforced(engine: Engine, resolved: Resolved) -> tuple[str, ...]:
    """What a person should know of limits that this machine does not enforce for this user."""
    limited = [spec.label for spec in resolved.containers.values() if spec.limits != Limits()]
    if not limited or engine.capabilities.limits:
        return ()
    return (f"limits are not enforced here ({', '.join(limited)}): devbox doctor says what to do",)


@contextlib.contextmanager
def exclusive(opened: Project, sink: Sink) -> Iterator[None]:
    """Hold the instance: two devbox processes that change one project take turns."""
    path = opened.paths.lock(opened.id)
    with files.locked(path, wait=False) as got:
        if got:
            with gate.kept(opened.paths):
                yield
            return
    holder = files.lock_holder(path)
    sink(Note(text=f"waiting for another devbox on this project{f' (pid {holder})' if holder else ''}"))
    with files.locked(path), gate.kept(opened.paths):
        yield


def _execute(
    opened: Project,
    made: Plan,
    resolved: Resolved,
    observed: Observed,
    sink: Sink,
    *,
    wait: bool = True,
    volumes: bool = False,
    locked: bool = False,
    renewed: set[str] | None = None,
) -> Resolved:
    """Run a plan. The file as it is then: its images by the packages that were installed."""
    from devbox.execute.actions import Actions
    from devbox.execute.runner import run

    actions = Actions(
        made,
        resolved,
        observed,
        engine=opened.engine,
        store=opened.store,
        sink=sink,
        wait=wait,
        volumes=volumes,
        locked=locked,
        renewed=renewed,
    )
    run(made, actions.table(), sink)
    return actions.resolved


def _fixed(opened: Project, resolved: Resolved, *, locked: bool) -> Resolved:
    """The file with what earlier bakes took, where the lock has no entry; with `locked`, it must have all."""
    from devbox.execute import locks

    found = locks.fixed(resolved, opened.store)
    if locked:
        images = [spec.image for spec in resolved.containers.values()]
        locks.Locks(resolved.instance).demand(resolved, images, baked=found)
    return found


def _complete_lock(opened: Project, resolved: Resolved, sink: Sink) -> None:
    """Write into the lock what it lacks and is known."""
    from devbox.execute import locks

    if locks.complete(resolved, opened.store, sink):
        with contextlib.suppress(DevboxError):  # edited meanwhile: the next command says what is wrong with it
            load(opened, held=True)  # the lock is an input of the file as that command finds it


def _load_trusted(opened: Project, *, locked: bool = False) -> Resolved:
    """The file of a project that may start something: what it wants of this machine has been allowed."""
    resolved = _fixed(opened, load(opened, held=True), locked=locked)
    wanted = secrets.host_access(resolved.containers.values(), root=opened.root)
    if not TrustRecord(opened.paths, opened.id).covers(wanted):
        raise NotTrusted(
            f"the secret {wanted[0].variable} of {wanted[0].container} comes from outside the project "
            f"({wanted[0].reference}), which you have not allowed yet",
            where=wanted[0].where,
            remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
        )
    return resolved


def _look_anyhow(opened: Project, resolved: Resolved, sink: Sink) -> Observed:
    """One look for `down`, which works whatever is written about the instance: then all that stands is taken down."""
    try:
        return look(opened, resolved)
    except EngineError as error:
        sink(Note(text=error.sentence))
        return Observed(supervised=False, standing=True)


def _instance(opened: Project, name: str) -> Instance:
    facts = os.stat(opened.root)
    return Instance(
        id=opened.id,
        name=name,
        root=opened.root,
        env_file=opened.env_file,
        owner=facts.st_uid,
        group=facts.st_gid,
    )


def _check_names(resolved: Resolved, names: tuple[str, ...] | None) -> None:
    for name in names or ():
        if name in resolved.sleeping:
            profile = resolved.sleeping[name]
            raise UsageError(
                f"{name} is in the profile {profile}, which is off",
                remedy=f"DEVBOX_PROFILES={profile} devbox up {name}",
            )
        if name not in resolved.containers:
            known = ", ".join(resolved.containers) or "none"
            raise UsageError(f"there is no container {name} in {resolved.instance.env_file}", remedy=f"known: {known}")
