"""Start a container: a forked child makes its mounts and its network and becomes the OCI runtime.

The host sees nothing of it but `RUN_DIR/c/NAME/`: `config.json` (for the owner alone: it carries secrets), `pid`, `log`
(the runtime's JSON log) and an empty `stage`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable
from typing import NamedTuple

from devbox.errors import CommandFailed, EngineError
from devbox.host import programs
from devbox.isolation import (
    accounts,
    cgroups,
    contexts,
    forks,
    idmap,
    joining,
    living,
    namespaces,
    oci,
    oomscore,
    rootfs,
    spec,
    syscalls,
)
from devbox.isolation.network import bridge, listening
from devbox.isolation.types import Bind, Context, Launch, ProcessRef


class Starting(NamedTuple):
    """A container on its way. `pid` is a child of this process: when it has ended, `finish` says what became of it."""

    pid: int
    error_fd: int  # readable (with the error, or at its end) when the OCI runtime takes over
    directory: str  # the container's runtime directory
    state: str = ""  # what the runtime will keep of it, where `joining` wants that


class _Maps(NamedTuple):
    """Descriptors of the user namespaces that id-mapped mounts need; none for an ordinary user."""

    store: int | None
    owners: dict[tuple[int, int], int]


def launch(
    context: Context,
    container: Launch,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    held: listening.Held | None = None,
) -> Starting:
    """Begin to start a container with these streams; returns at once. The caller is its subreaper.

    When the caller dies before it runs, it never will. `held`: its network namespace and the sockets that it inherits.
    """
    return _start(context, container, streams=(stdin, stdout, stderr), detach=True, held=held)


def finish(starting: Starting, status: int | None = None) -> ProcessRef:
    """The container's pid 1 (start time 0 when it has exited and been reaped already).

    `status` is the wait status of `starting.pid` where the caller has reaped it. Raises EngineError with the runtime's
    own sentence.
    """
    failure = forks.read_failure(starting.error_fd)
    if status is None:
        status = os.waitpid(starting.pid, 0)[1]
    if failure is not None:
        raise failure
    if status != 0:
        said = oci.complaint(f"{starting.directory}/log") or f"it ended with {os.waitstatus_to_exitcode(status)}"
        raise EngineError(
            f"the OCI runtime could not start {os.path.basename(starting.directory)}: {said}",
            remedy="devbox up once more; devbox doctor looks for the cause",
        )
    if starting.state:
        joining.register(starting.state, joining.root(starting.directory))
    with open(f"{starting.directory}/pid", encoding="utf-8") as source:
        pid = int(source.read())
    return living.identify(pid) or ProcessRef(pid, 0)


def run_bare(
    context: Context,
    container: Launch,
    *,
    streams: tuple[int, int, int],
    on_start: Callable[[int], None] | None = None,
) -> int:
    """Run a container without an init on these streams to its end, and remove it; its exit code as `oci.exit_code`.

    `on_start` gets the pid to which signals belong.
    """
    starting = _start(context, container, streams=streams, detach=False)
    if on_start is not None:
        on_start(starting.pid)
    failure = forks.read_failure(starting.error_fd)
    status = os.waitpid(starting.pid, 0)[1]
    if failure is not None:
        raise failure
    code = oci.exit_code(os.waitstatus_to_exitcode(status), f"{starting.directory}/log")
    _forget(starting.directory)
    return code


def delete(context: Context, name: str, oci_id: str) -> None:
    """Kill and forget a container, and everything of it but its top; quiet when it is gone."""
    if os.path.isdir(f"{context.oci_root}/{oci_id}"):
        _delete_from_runtime(context, oci_id)
    _forget(directory(context, name))


def _start(
    context: Context,
    container: Launch,
    *,
    streams: tuple[int, int, int],
    detach: bool,
    held: listening.Held | None = None,
) -> Starting:
    """Fork the child that becomes the runtime."""
    place = directory(context, container.name)
    os.makedirs(f"{place}/stage/rootfs", mode=0o711, exist_ok=True)  # runc's exec wants to find the path
    for stale in ("pid", "log"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{place}/{stale}")
    maps = _open_maps(context, container.binds)
    start = oci.global_argv(context.runtime, context.oci_root, context.cgroups, f"{place}/log")
    caller = os.getpid()
    sockets = held.sockets if held else {}
    argv = oci.run_argv(
        start,
        bundle=place,
        pid_file=f"{place}/pid",
        oci_id=container.oci_id,
        detach=detach,
        descriptors=len(sockets),
    )
    environment = oci.ENVIRONMENT | contexts.own_mark(context.run_dir)

    def become_runtime() -> None:
        _prepare(context, container, place, maps, held)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        listening.inherit(sockets)
        oomscore.give_back()
        _die_with(caller)
        os.execve(argv[0], argv, environment)

    with listening.room(sockets):
        child = forks.fork(become_runtime)
    if maps.store is not None:
        os.close(maps.store)
    joins = detach and joining.wanted(context.runtime, context.cgroups)
    return Starting(child.pid, child.error_fd, place, f"{context.oci_root}/{container.oci_id}" if joins else "")


def _die_with(caller: int) -> None:
    """Be killed when the caller dies; at once where it died before this was said."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != caller:
        os.kill(os.getpid(), signal.SIGKILL)


def _prepare(context: Context, container: Launch, place: str, maps: _Maps, held: listening.Held | None) -> None:
    """Make the bundle: file system and network namespace on the stage, config.json beside it."""
    stage = f"{place}/stage"
    if context.idmap.rootless:
        namespaces.join(context.holder, network=False)
    rootfs.make_private(stage)
    cgroups.prepare_view(context.cgroups, context.runtime)
    plug = None if container.joins or held else bridge.start_plug(context, container.network)
    rootfs.prepare_top(container.top, context.idmap)
    root = rootfs.mount_root(stage, lowers=container.lowers, top=container.top, userns=maps.store)
    container = _with_home(container, root)
    if held is not None:
        container = container._replace(process=listening.named(container.process, held.sockets))
    if not oci.is_crun(context.runtime):
        accounts.check(root)
    if container.digest:  # not in a bake, where it would become part of a layer
        rootfs.complete(root, container.directories, context.idmap)
    binds = rootfs.stage_binds(stage, _all_binds(context, container), maps.owners, ids=context.idmap, userns=maps.store)
    netns = f"/proc/{container.joins.pid}/ns/net" if container.joins else f"{stage}/netns"
    if plug is not None:
        bridge.pin(plug, netns)
    elif held is not None:
        bridge.pin_existing(f"/proc/self/fd/{held.netns}", netns)
    staged = spec.Staged(
        rootfs=root,
        binds=binds,
        netns=netns,
        userns="" if context.idmap.rootless else f"/proc/{context.holder.pid}/ns/user",
        open_files=open_files(),
        swap=container.confine.memory is not None and cgroups.counts_swap(context.cgroups),
    )
    write_json(f"{place}/config.json", spec.config(context, container, staged))


def _with_home(container: Launch, root: str) -> Launch:
    """The container with a home directory said: the runtime would look for one in a file of the container."""
    process = container.process
    if any(variable.startswith("HOME=") for variable in process.env):
        return container
    found = accounts.home(process.uid, accounts.read(root, accounts.PASSWD))
    return container._replace(process=process._replace(env=(*process.env, f"HOME={found}")))


def _all_binds(context: Context, container: Launch) -> tuple[Bind, ...]:
    """The container's own binds, and those every container has."""
    shared = [
        Bind(source, target, read_only=True)
        for source, target in ((context.hosts, "/etc/hosts"), (context.resolv, "/etc/resolv.conf"))
        if source
    ]
    init = [Bind(context.init, spec.INIT, read_only=True)] if container.init else []
    return (*container.binds, *shared, *init)


def _open_maps(context: Context, binds: tuple[Bind, ...]) -> _Maps:
    if context.idmap.rootless:
        return _Maps(None, {})
    owners = {key: idmap.userns_fd(ids) for key, ids in rootfs.owner_maps(context, binds).items()}
    return _Maps(os.open(f"/proc/{context.holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC), owners)


def write_json(path: str, value: dict[str, object]) -> None:
    """Write what a runtime reads. It may carry secrets."""
    import json

    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
    ) as target:
        json.dump(value, target)


def _delete_from_runtime(context: Context, oci_id: str) -> None:
    """Let the runtime kill and forget a container. Another process may have done so in the meantime."""
    argv = [*oci.global_argv(context.runtime, context.oci_root, context.cgroups), "delete", "--force", oci_id]
    joins = context.idmap.rootless and living.alive(context.holder)

    def ask() -> None:
        if joins:
            namespaces.join(context.holder, network=False)
        try:
            programs.call(argv, purpose=f"remove the container {oci_id}")
        except CommandFailed:
            if os.path.isdir(f"{context.oci_root}/{oci_id}"):
                raise

    forks.inside(ask) if joins else ask()


def open_files() -> int:
    """How many open files this process may have, and so a container."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def directory(context: Context, name: str) -> str:
    """A container's runtime directory."""
    return f"{context.run_dir}/c/{name}"


def _forget(place: str) -> None:
    """Remove a container's runtime directory."""
    joining.forget(joining.root(place))
    for entry in ("config.json", "pid", "log", "process.json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{place}/{entry}")
    for leaf in (f"{place}/stage/rootfs", f"{place}/stage", place):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(leaf)
