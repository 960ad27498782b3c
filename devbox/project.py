"""An open project: its location, env file, observation, and execution of a plan under the instance lock.

The shared operations of `flow` and `commands/`, which decide which operations run, and in what order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devbox.engines.engine import Engine
from devbox.engines.select import select_engine
from devbox.envfile import host_access
from devbox.errors import DevboxError, EngineError, HookFailed, NotTrusted, UsageError
from devbox.execute.events import Note, Sink
from devbox.execute.observe import add_contexts, observe
from devbox.host import environ, files, project
from devbox.host.paths import Paths, get_default_paths
from devbox.host.version import compute_reader_id
from devbox.images.image_store import ImageStore
from devbox.images.store import lock
from devbox.model.container import Grant
from devbox.model.observed import Observed
from devbox.model.plan import Plan
from devbox.model.spec import Instance, Spec
from devbox.plan import branches, grants
from devbox.records import spec_cache
from devbox.records.installed import InstalledRecords
from devbox.records.instance import InstanceRecords
from devbox.records.projects import PlaceRecord, find_id
from devbox.records.trust import GrantRecord, TrustRecord, is_within_isolated

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


def load(opened: Project, *, held: bool = False, keep: bool = True, bakes: bool = False, fresh: bool = False) -> Spec:
    """Return the spec of the env file, cached until one of its inputs changes.

    `held`: the caller holds the instance lock. `bakes`: the caller will build images. `fresh`: bypass the cache, for
    decisions about releases: the cache is below DEVBOX_HOME and could hide a gate; HostError if those releases belong
    to another project. Values from env files may be secret and are never written to disk: their cache is in the runtime
    directory, writable only for the holder of the instance lock, since `down` removes the directory. Without `keep`,
    nothing is written, and credentials that do not exist yet get throwaway values.
    """
    if fresh:
        PlaceRecord(opened.paths, opened.id).check(opened.root, opened.env_file)
    lasting, fleeting = opened.paths.project(opened.id), opened.paths.instance_runtime(opened.id)
    cached = None if fresh else _read_cached(opened, lasting, fleeting)
    if cached is not None and cached.instance == build_instance(opened, cached.instance.name):
        return _add_uncached_inputs(opened, cached)
    if bakes:
        opened.store.prestart_worker()
    from devbox.envfile.expand import list_credentials, resolve
    from devbox.envfile.load import load as read
    from devbox.execute.locks import Locks

    env = read(opened.root, file=opened.env_file)
    if keep:
        opened.records.record_place(opened.root, opened.env_file)
    credentials = opened.records.ensure_credentials(list_credentials(env), keep=keep)
    resolved = resolve(env, instance=build_instance(opened, env.name), credentials=credentials)
    lock = Locks(resolved.instance)
    resolved = lock.apply(resolved)
    directory = fleeting if env.env_files else lasting
    if keep and (not env.env_files or (held and spec_cache.can_hold_secrets(directory))):
        inputs, names = (*env.inputs, lock.path), env.variables
        spec_cache.write(opened.paths, directory, resolved, compute_reader_id(), inputs=inputs, variables=names)
    return _add_uncached_inputs(opened, resolved)


def _read_cached(opened: Project, *directories: str) -> Spec | None:
    return next(filter(None, (spec_cache.read(opened.paths, each, compute_reader_id()) for each in directories)), None)


def _add_uncached_inputs(opened: Project, resolved: Spec) -> Spec:
    """Add the inputs that are never cached: build contexts, tarballs, git branch."""
    resolved = add_contexts(resolved, digests=opened.paths.digests(opened.id))
    if not resolved.branched:
        return resolved
    from devbox.host.repository import layout

    return branches.apply_branch(resolved, layout.find_branch(opened.root), opened.records.read_last_applied().specs)


def load_trusted(opened: Project, *, locked: bool = False) -> Spec:
    """Return the spec of a project that may start containers; NotTrusted if its host access is not allowed."""
    resolved = pin(opened, load(opened, held=True, bakes=True), locked=locked)
    wanted = host_access.list_access(resolved)
    if not TrustRecord(opened.paths, opened.id).covers(wanted):
        raise NotTrusted(
            host_access.describe_refusal(wanted[0]),
            where=wanted[0].where,
            remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
        )
    check_grants(opened, resolved)
    return replace(resolved, allowed=wanted)


def check_grants(opened: Project, resolved: Spec) -> None:
    """Raise NotTrusted if the file grants more than was accepted since a container first ran isolated.

    Without any isolated container, now or earlier, nothing is recorded or refused.
    """
    record, accepted = GrantRecord(opened.paths, opened.id), _read_accepted_grants(opened)
    if accepted is None and not grants.is_closed(resolved):
        return
    if more := list_new_grants(opened, resolved):
        raise _make_grant_error(more)
    record.write(grants.narrow(_list_grants(opened, resolved), accepted or ()))


def check_release_grants(opened: Project, resolved: Spec) -> None:
    """Raise NotTrusted if the file grants more than at its first promotion or the last `devbox trust`.

    The record is outside DEVBOX_HOME, so that no file below it can widen a promotion. For files that ran isolated; call
    `check_grants` first.
    """
    if more := list_new_release_grants(opened, resolved):
        raise _make_grant_error(more)
    record = GrantRecord(opened.paths, opened.id, for_releases=True)
    if record.read() is None and _read_accepted_grants(opened) is not None:
        record.write(_list_grants(opened, resolved))


def check_grants_by_vars(opened: Project, resolved: Spec) -> None:
    """Raise NotTrusted if other vars (a matrix cell, a stage) grant a container more than accepted."""
    accepted = _read_accepted_grants(opened)
    if accepted is not None and (more := grants.find_loosened(grants.list_grants(resolved), accepted)):
        raise _make_grant_error(more)


def _make_grant_error(more: tuple[Grant, ...]) -> NotTrusted:
    return NotTrusted(
        f"the file grants {more[0].subject} more than when it last ran isolated",
        where=more[0].where,
        details="\n".join(grants.describe(more)),
        remedy="if you made this change, allow it: devbox trust",
    )


def accept_grants(opened: Project, resolved: Spec) -> None:
    """Record, for `devbox trust`, the current grants of the file as accepted, those by other vars included."""
    record, released = (GrantRecord(opened.paths, opened.id, for_releases=which) for which in (False, True))
    if any(known is not None for known in (_read_accepted_grants(opened), released.read())) or grants.is_closed(
        resolved
    ):
        own = _list_grants(opened, resolved)
        others = (
            grant
            for other in _resolve_by_vars(opened)
            for grant in grants.find_loosened(grants.list_grants(other), own)
        )
        accepted = tuple(dict.fromkeys((*own, *grants.mark_by_vars(others))))
        record.write(accepted)
        if resolved.stages:
            released.write(accepted)


def _resolve_by_vars(opened: Project) -> Iterator[Spec]:
    """Yield the spec by the vars of each matrix cell and each stage."""
    from devbox.envfile.expand import list_credentials, resolve
    from devbox.envfile.load import load as read
    from devbox.envfile.load import load_each_cell
    from devbox.plan import matrix

    env = read(opened.root, file=opened.env_file)
    table = env.document.test.matrix if env.document.test else None
    ways = {cell.name: cell.variables for cell in matrix.expand_cells(table.to_matrix())} if table else {}
    for one in (*(one for _, one in load_each_cell(env, ways)), *env.staged.values()):
        nobody = dict.fromkeys(list_credentials(one), "")
        yield resolve(one, instance=build_instance(opened, one.name), credentials=nobody)


def list_new_grants(opened: Project, resolved: Spec) -> tuple[Grant, ...]:
    """Return the grants of the file beyond those accepted since it ran isolated."""
    accepted = _read_accepted_grants(opened)
    return grants.find_added(_list_grants(opened, resolved), accepted) if accepted is not None else ()


def list_new_release_grants(opened: Project, resolved: Spec) -> tuple[Grant, ...]:
    """Return the grants of the file beyond those allowed for promotions; see `check_release_grants`."""
    accepted = GrantRecord(opened.paths, opened.id, for_releases=True).read()
    return grants.find_added(_list_grants(opened, resolved), accepted) if accepted is not None else ()


def _read_accepted_grants(opened: Project) -> tuple[Grant, ...] | None:
    """Return the accepted grants; () for an unrecorded file that an isolated container of another project can write."""
    found = GrantRecord(opened.paths, opened.id).read()
    return () if found is None and is_within_isolated(opened.paths, opened.root) else found


def _list_grants(opened: Project, resolved: Spec) -> tuple[Grant, ...]:
    """Return the grants of the file and the files read with it, so that a file created by a container is noticed."""
    names = {project.LOCAL_FILE: "", **{f"recipes/{name}.toml": digest for name, digest in resolved.recipes.items()}}
    present = ((name, value) for name, value in names.items() if os.path.lexists(f"{opened.root}/{name}"))
    read = (Grant(subject=name, kind="file", value=value) for name, value in present)
    return (*grants.list_grants(resolved), *read)


def pin(opened: Project, resolved: Spec, *, locked: bool) -> Spec:
    """Add the digests of earlier builds where the lockfile has no entry.

    With `locked`, raise NotLocked unless every image that starts is locked; on-demand containers are exempt.
    """
    from devbox.execute import locks

    found = locks.pin_images(resolved, opened.store)
    if resolved.build is not None:
        from devbox.execute.outputs import apply_container_output

        found = apply_container_output(found, opened.store)
    if locked:
        images = [spec.image for name, spec in resolved.containers.items() if name not in resolved.on_use]
        locks.Locks(resolved.instance).demand(resolved, images, baked=found)
    return found


def observe_instance(opened: Project, resolved: Spec) -> Observed:
    """Observe the host once."""
    return observe(resolved, engine=opened.engine, store=opened.store, records=opened.records, paths=opened.paths)


def observe_best_effort(opened: Project, resolved: Spec, sink: Sink) -> Observed:
    """Observe an instance; if its state cannot be read, assume that something runs, so that `down` removes it."""
    try:
        return observe_instance(opened, resolved)
    except EngineError as error:
        sink(Note(text=error.sentence))
        return Observed(supervised=False, standing=True)


@contextlib.contextmanager
def lock_instance(opened: Project, sink: Sink) -> Iterator[None]:
    """Hold the instance lock: two devbox processes that change one project take turns."""
    if environ.get("DEVBOX_HOOK") == opened.id:
        raise UsageError(
            "a hook can't change the instance that waits for it",
            remedy="in hooks: devbox exec, run TASK, ps, logs",
        )
    path = opened.paths.lock(opened.id)
    with contextlib.ExitStack() as held:
        if not held.enter_context(files.lock_file(path, wait=False)):
            holder = files.read_lock_holder(path)
            sink(Note(text=f"waiting for another devbox on this project{f' (pid {holder})' if holder else ''}"))
            held.enter_context(files.lock_file(path))
        held.enter_context(lock.lock_shared(opened.paths))
        held.callback(opened.store.stop_idle_worker)
        _recover_installs(opened, sink)
        yield


def _recover_installs(opened: Project, sink: Sink) -> None:
    """Recover installs to the host, of any project, that were interrupted by a kill."""
    records = InstalledRecords(opened.paths)
    if not records.is_interrupted:
        return
    from devbox.execute import installing

    with contextlib.suppress(DevboxError, OSError), files.lock_file(records.lock, wait=False) as got:
        if got and installing.recover(records):  # `devbox install` reports the cause of a failure
            sink(Note(text=installing.RECOVERED))


def apply(
    opened: Project,
    made: Plan,
    resolved: Spec,
    observed: Observed,
    sink: Sink,
    *,
    wait: bool = True,
    volumes: bool = False,
    locked: bool = False,
    renewed: set[str] | None = None,
    terminal: int | None = None,
    standing: Callable[[Spec], None] | None = None,
) -> Spec:
    """Run a plan; return the spec with images identified by the packages installed into them.

    `standing` is called with the same spec once the containers run, even if a hook fails. `terminal`: a descriptor of
    the user's terminal, for a shell when a build step fails.
    """
    from devbox.execute.actions import Actions
    from devbox.execute.hooks import Hooks
    from devbox.execute.runner import run
    from devbox.execute.terminal import SecretResolver

    if any(step.op == "network" for step in made.steps):
        opened.engine.check_network()  # before minutes of building
    if hooks := [step.resource for step in made.steps if step.op == "hook"]:
        opened.records.record_due_hooks(hooks)
    with lend_terminal(opened.asks if terminal is None else terminal, sink) as lender:
        sink = lender.show if lender else sink
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
            lender=lender if terminal is not None else None,
            secrets=SecretResolver(resolved, terminal=lender),
        )
        hook = Hooks(resolved, opened.records, sink, hidden=actions.hidden).run
        try:
            run(made, {**actions.build_table(), "hook": hook}, sink)
        except HookFailed:
            if standing:
                standing(actions.resolved)
            raise
        if standing:
            standing(actions.resolved)
        return actions.resolved


@contextlib.contextmanager
def lend_terminal(terminal: int | None, sink: Sink) -> Iterator[SharedTerminal | None]:
    """Yield the terminal behind a descriptor, shared between programs and the display of `sink`; None for None."""
    if terminal is None:
        yield None
        return
    from devbox.execute.terminal import SharedTerminal

    with contextlib.closing(SharedTerminal(terminal, sink)) as lender:
        yield lender


def complete_lock(opened: Project, resolved: Spec, sink: Sink) -> None:
    """Write known but missing entries into the lockfile."""
    from devbox.execute import locks

    if locks.complete(resolved, opened.store, sink):
        with contextlib.suppress(DevboxError):  # edited meanwhile: the next command reports the problem
            load(opened, held=True)  # update the cache: the lockfile is an input of the spec


def check_names(resolved: Spec, names: tuple[str, ...] | None) -> None:
    """Raise UsageError if a name is not a container of the file or belongs to a disabled profile."""
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


def build_instance(opened: Project, name: str) -> Instance:
    """Return the instance of a project under a name."""
    facts = os.stat(opened.root)
    owner, group = facts.st_uid, facts.st_gid
    return Instance(id=opened.id, name=name, root=opened.root, env_file=opened.env_file, owner=owner, group=group)
