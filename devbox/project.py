"""An open project: its location, env file, observation, and execution of a plan under the instance lock.

The shared operations of `flow` and `commands/`, which decide which operations run, and in what order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from devbox.engines import capabilities
from devbox.engines.engine import Engine
from devbox.engines.select import select_engine
from devbox.envfile import host_access
from devbox.errors import DevboxError, EngineError, HookFailed, NotTrusted, UsageError
from devbox.execute.events import Note, Sink
from devbox.execute.grant_checks import check_grants
from devbox.execute.observe import add_contexts, observe
from devbox.host import environ, files, project
from devbox.host.paths import Paths, get_default_paths
from devbox.host.version import compute_reader_id
from devbox.images.image_store import ImageStore
from devbox.images.store import lock
from devbox.model.container import ContainerSpec
from devbox.model.host_access import HostAccess
from devbox.model.image import ImageSpec
from devbox.model.observed import Observed
from devbox.model.plan import Op, Plan
from devbox.model.spec import Desired, Instance, LockedSpec, Spec
from devbox.plan import branches
from devbox.records import spec_cache
from devbox.records.installed import InstalledRecords
from devbox.records.instance import InstanceRecords
from devbox.records.projects import PlaceRecord, find_id
from devbox.records.trust import TrustRecord

if TYPE_CHECKING:
    from devbox.execute.terminal import SharedTerminal


@dataclass(frozen=True)
class Project:
    """An open project: its location, state directories and container engine."""

    root: str
    env_file: str
    id: str
    paths: Paths
    engine: Engine
    store: ImageStore
    records: InstanceRecords
    asks: int | None = None  # descriptor of the user's terminal, for secret commands that prompt


def open_project(start: str, *, file: str | None = None, asks: int | None = None) -> Project:
    """Find the project at or above a directory; no file is read yet."""
    root, env_file = project.find(start, file=file)
    paths = get_default_paths()
    key = find_id(paths, root, env_file)
    return Project(
        root=root,
        env_file=env_file,
        id=key,
        paths=paths,
        engine=select_engine(paths),
        store=ImageStore(paths, project=key),
        records=InstanceRecords(paths, key),
        asks=asks,
    )


class LockPolicy(Enum):
    """How strictly images are pinned."""

    FILE = "by the lockfile alone"
    PIN = "by the lockfile, and by versions of earlier builds where it has no entry"
    REQUIRE = "as PIN; NotLocked unless the lockfile pins every image that starts"

    @classmethod
    def from_flag(cls, *, locked: bool) -> LockPolicy:
        """Return the policy of `--locked`, or of a command without it."""
        return cls.REQUIRE if locked else cls.PIN


class TrustPolicy(Enum):
    """Whether host access that the user has not allowed is an error."""

    IGNORE = "no host access"
    REQUIRE = "NotTrusted unless the user has allowed it, and the file grants no more than accepted"


def prepare(
    project: Project,
    *,
    lock: LockPolicy = LockPolicy.FILE,
    trust: TrustPolicy = TrustPolicy.IGNORE,
    output: bool = False,
    held: bool = False,
    keep: bool = True,
    bakes: bool = False,
    fresh: bool = False,
) -> Desired:
    """Return the desired state of the env file. All commands get it here; only the lockfile's part is cached.

    `output`: identify every image that copies the output of `[build]` by that output, not only those of containers.
    `held`: the caller holds the instance lock. `bakes`: it will build images, so a worker starts ahead. `fresh`: bypass
    the cache, for decisions about releases: the cache is below DEVBOX_HOME and could hide a gate; HostError if those
    releases belong to another project. Without `keep`, nothing is written, and credentials that do not exist yet get
    throwaway values. TrustPolicy.REQUIRE implies `held` and `bakes`.
    """
    trusted = trust is TrustPolicy.REQUIRE
    locked = _load_locked(project, held=held or trusted, keep=keep, bakes=bakes or trusted, fresh=fresh)
    images, missing = add_contexts(locked.images, locked.instance, digests=project.paths.digests(project.id))
    containers, branched = _apply_branch(project, locked)
    unlocked = tuple(dict.fromkeys((*locked.unlocked, *missing)))
    found = Desired.from_locked(locked, images=images, containers=containers, branched=branched, unlocked=unlocked)
    if lock is not LockPolicy.FILE or output:
        images = _pin(project, found, lock=lock, output=output)
        found = Desired.from_locked(found, images=images)
    if not trusted:
        return found
    allowed = check_access(project, found)
    check_grants(project, found)
    return Desired.from_locked(found, images=images, allowed=allowed)


def _load_locked(project: Project, *, held: bool, keep: bool, bakes: bool, fresh: bool) -> LockedSpec:
    """Return the locked spec of the env file, cached until one of its inputs changes.

    Values from env files may be secret and are never written to disk: their cache is in the runtime directory, writable
    only for the holder of the instance lock, since `down` removes the directory.
    """
    if fresh:
        PlaceRecord(project.paths, project.id).check(project.root, project.env_file)
    lasting, fleeting = project.paths.project(project.id), project.paths.instance_runtime(project.id)
    cached = None if fresh else _read_cached(project, lasting, fleeting)
    if cached is not None and cached.instance == build_instance(project, cached.instance.name):
        return cached
    if bakes:
        project.store.prestart_worker()
    from devbox.envfile.expand import list_credentials, resolve
    from devbox.envfile.load import load
    from devbox.execute.locks import Locks

    env = load(project.root, file=project.env_file)
    if keep:
        project.records.record_place(project.root, project.env_file)
    credentials = project.records.ensure_credentials(list_credentials(env), keep=keep)
    spec = resolve(env, instance=build_instance(project, env.name), credentials=credentials)
    lock = Locks(spec.instance)
    locked = lock.apply(spec)
    directory = fleeting if env.env_files else lasting
    if keep and (not env.env_files or (held and spec_cache.can_hold_secrets(directory))):
        inputs, names = (*env.inputs, lock.path), env.variables
        spec_cache.write(project.paths, directory, locked, compute_reader_id(), inputs=inputs, variables=names)
    return locked


def _read_cached(project: Project, *directories: str) -> LockedSpec | None:
    return next(filter(None, (spec_cache.read(project.paths, each, compute_reader_id()) for each in directories)), None)


def _apply_branch(project: Project, spec: Spec) -> tuple[dict[str, ContainerSpec], dict[str, str]]:
    """Return the containers and volumes of the current git branch, which is never cached."""
    if not spec.branched:
        return spec.containers, spec.branched
    from devbox.host.repository import layout

    return branches.apply_branch(spec, layout.find_branch(project.root), project.records.read_last_applied().specs)


def _pin(project: Project, desired: Desired, *, lock: LockPolicy, output: bool) -> dict[str, ImageSpec]:
    """Return the images with versions of earlier builds, and identified by the output of `[build]`."""
    from devbox.execute import locks, outputs

    images = desired.images
    if lock is not LockPolicy.FILE:
        images = locks.pin_images(images, project.store)
    if output:
        images = outputs.apply_current_output(desired, images, project.store)
    elif desired.build is not None:
        images = outputs.apply_container_output(desired, images, project.store)
    if lock is LockPolicy.REQUIRE:  # on-demand containers are exempt
        names = [spec.image for name, spec in desired.containers.items() if name not in desired.on_use]
        locks.Locks(desired.instance).demand(desired, desired.images, names, baked=images)
    return images


def check_access(project: Project, spec: Spec) -> tuple[HostAccess, ...]:
    """Return the host access of a spec; NotTrusted if the user has not allowed it."""
    desired = host_access.list_access(spec)
    if not TrustRecord(project.paths, project.id).covers(desired):
        raise NotTrusted(
            host_access.describe_refusal(desired[0]),
            where=desired[0].where,
            remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
        )
    return desired


def observe_instance(project: Project, spec: Spec) -> Observed:
    """Observe the host once."""
    return observe(spec, engine=project.engine, store=project.store, records=project.records, paths=project.paths)


def observe_best_effort(project: Project, spec: Spec, sink: Sink) -> Observed:
    """Observe an instance; if its state cannot be read, assume that something runs, so that `down` removes it."""
    try:
        return observe_instance(project, spec)
    except EngineError as error:
        sink(Note(text=error.sentence))
        return Observed(supervised=False, standing=True)


@contextlib.contextmanager
def lock_instance(project: Project, sink: Sink) -> Iterator[None]:
    """Hold the instance lock: two devbox processes that change one project take turns."""
    if environ.get("DEVBOX_HOOK") == project.id:
        raise UsageError(
            "a hook cannot change the instance that is waiting for it",
            remedy="in hooks, use only: devbox exec, run TASK, ps, logs",
        )
    path = project.paths.lock(project.id)
    with contextlib.ExitStack() as held:
        if not held.enter_context(files.lock_file(path, wait=False)):
            holder = files.read_lock_holder(path)
            sink(Note(text=f"waiting for another devbox on this project{f' (pid {holder})' if holder else ''}"))
            held.enter_context(files.lock_file(path))
        held.enter_context(lock.lock_shared(project.paths))
        held.callback(project.store.stop_idle_worker)
        _recover_installs(project, sink)
        yield


def _recover_installs(project: Project, sink: Sink) -> None:
    """Recover installs to the host, of any project, that were interrupted by a kill."""
    records = InstalledRecords(project.paths)
    if not records.is_interrupted:
        return
    from devbox.execute import installing

    with contextlib.suppress(DevboxError, OSError), files.lock_file(records.lock, wait=False) as got:
        if got and installing.recover(records):  # `devbox install` reports the cause of a failure
            sink(Note(text=installing.RECOVERED))


@dataclass(frozen=True, kw_only=True)
class ApplyOptions:
    """How a plan is applied.

    `wait`: until containers are ready. `volumes`: a teardown removes the data. `locked`: a build that finds more than
    the lockfile pins is an error. `renewed`: see `ImageStore.bake`. `terminal`: a descriptor of the user's terminal,
    for a shell when a build step fails. `on_running` is called once the containers run, even if a hook fails.
    """

    wait: bool = True
    volumes: bool = False
    locked: bool = False
    renewed: set[str] | None = None
    terminal: int | None = None
    on_running: Callable[[ApplyResult], None] = lambda _result: None


@dataclass(frozen=True, kw_only=True)
class ApplyContext:
    """What a plan is applied to: the project, its desired and observed state, and the receiver of events."""

    project: Project
    desired: Desired
    observed: Observed
    sink: Sink
    options: ApplyOptions = ApplyOptions()


@dataclass(frozen=True, kw_only=True)
class ApplyResult:
    """Facts found while a plan ran: the images, identified by the installed packages and the output of `[build]`."""

    images: dict[str, ImageSpec]


def apply(plan: Plan, context: ApplyContext) -> ApplyResult:
    """Run a plan."""
    from devbox.execute.actions import Actions
    from devbox.execute.hooks import Hooks
    from devbox.execute.runner import run
    from devbox.execute.terminal import SecretResolver

    project, options, sink = context.project, context.options, context.sink
    if any(step.op == Op.NETWORK for step in plan.steps):
        capabilities.check_network(project.engine)  # before minutes of building
    if hooks := [step.resource for step in plan.steps if step.op == Op.HOOK]:
        project.records.record_due_hooks(hooks)
    with lend_terminal(project.asks if options.terminal is None else options.terminal, sink) as lender:
        sink = lender.show if lender else sink
        actions = Actions(
            plan,
            context.desired,
            context.observed,
            engine=project.engine,
            store=project.store,
            sink=sink,
            wait=options.wait,
            volumes=options.volumes,
            locked=options.locked,
            renewed=options.renewed,
            lender=lender if options.terminal is not None else None,
            secrets=SecretResolver(context.desired, terminal=lender),
        )
        hook = Hooks(context.desired, project.records, sink, hidden=actions.hidden).run
        try:
            run(plan, {**actions.build_table(), Op.HOOK: hook}, sink)
        except HookFailed:
            options.on_running(ApplyResult(images=actions.images))
            raise
        result = ApplyResult(images=actions.images)
        options.on_running(result)
        return result


@contextlib.contextmanager
def lend_terminal(terminal: int | None, sink: Sink) -> Iterator[SharedTerminal | None]:
    """Yield the terminal behind a descriptor, shared between programs and the display of `sink`; None for None."""
    if terminal is None:
        yield None
        return
    from devbox.execute.terminal import SharedTerminal

    with contextlib.closing(SharedTerminal(terminal, sink)) as lender:
        yield lender


def complete_lock(project: Project, spec: Spec, sink: Sink) -> None:
    """Write known but missing entries into the lockfile."""
    from devbox.execute import locks

    if locks.complete(spec, project.store, sink):
        with contextlib.suppress(DevboxError):  # edited meanwhile: the next command reports the problem
            prepare(project, held=True)  # update the cache: the lockfile is an input of the spec


def check_names(spec: Spec, names: tuple[str, ...] | None) -> None:
    """Raise UsageError if a name is not a container of the file or belongs to a disabled profile."""
    for name in names or ():
        if name in spec.sleeping:
            profile = spec.sleeping[name]
            raise UsageError(
                f"{name} is in the disabled profile {profile}", remedy=f"DEVBOX_PROFILES={profile} devbox up {name}"
            )
        if name not in spec.containers:
            known = ", ".join(spec.containers) or "none"
            raise UsageError(f"container {name} not found in {spec.instance.env_file}", remedy=f"known: {known}")


def build_instance(project: Project, name: str) -> Instance:
    """Return the instance of a project under a name."""
    facts = os.stat(project.root)
    owner, group = facts.st_uid, facts.st_gid
    return Instance(id=project.id, name=name, root=project.root, env_file=project.env_file, owner=owner, group=group)
