"""Container start: a forked child creates mounts and network, then becomes the OCI runtime.

The host sees only `RUN_DIR/c/NAME/`: `config.json` (mode 0600: it contains secrets), `pid`, `log` (the runtime's JSON
log) and an empty `stage`.
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
    forks,
    idmap,
    joining,
    liveness,
    namespaces,
    oci,
    rootfs,
    runtime_spec,
    syscalls,
)
from devbox.isolation.network import bridge, listening
from devbox.isolation.types import Bind, InstanceContext, Launch, ProcessRef


class StartingContainer(NamedTuple):
    """A container that is being started. `pid` is a child of this process; once it has exited, call `finish`."""

    pid: int
    error_fd: int  # readable (error text or end of file) when the OCI runtime takes over
    directory: str  # the container's runtime directory
    state: str = ""  # the runtime's state directory, if `joining` requires it


class _UsernsFds(NamedTuple):
    """Descriptors of the user namespaces for id-mapped mounts; empty for an ordinary user."""

    store: int | None
    owners: dict[tuple[int, int], int]


def launch(
    context: InstanceContext,
    container: Launch,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    held: listening.HeldSockets | None = None,
) -> StartingContainer:
    """Start a container with these streams and return at once. The caller is the container's subreaper.

    If the caller dies first, the container never runs. `held`: its network namespace and inherited sockets.
    """
    return _start(context, container, streams=(stdin, stdout, stderr), detach=True, held=held)


def finish(starting: StartingContainer, status: int | None = None) -> ProcessRef:
    """Return the container's pid 1 (start time 0 if it has exited and been reaped).

    `status` is the wait status of `starting.pid` if the caller has reaped it. Raises EngineError with the runtime's own
    message.
    """
    failure = forks.read_failure(starting.error_fd)
    if status is None:
        status = os.waitpid(starting.pid, 0)[1]
    if failure is not None:
        raise failure
    if status != 0:
        detail = (
            oci.read_last_error(f"{starting.directory}/log") or f"exited with code {os.waitstatus_to_exitcode(status)}"
        )
        raise EngineError(
            f"the OCI runtime cannot start {os.path.basename(starting.directory)}: {detail}",
            remedy="run devbox up again; if that fails, find the cause with: devbox doctor",
        )
    if starting.state:
        joining.register(starting.state, joining.get_joined_root(starting.directory))
    with open(f"{starting.directory}/pid", encoding="utf-8") as source:
        pid = int(source.read())
    return liveness.identify(pid) or ProcessRef(pid, 0)


def run_bare(
    context: InstanceContext,
    container: Launch,
    *,
    streams: tuple[int, int, int],
    on_start: Callable[[int], None] | None = None,
) -> int:
    """Run a container without an init on these streams, remove it and return its exit code (`oci.translate_exit_code`).

    `on_start` receives the pid that signals must be sent to.
    """
    starting = _start(context, container, streams=streams, detach=False)
    if on_start is not None:
        on_start(starting.pid)
    failure = forks.read_failure(starting.error_fd)
    status = os.waitpid(starting.pid, 0)[1]
    if failure is not None:
        raise failure
    code = oci.translate_exit_code(os.waitstatus_to_exitcode(status), f"{starting.directory}/log")
    _remove_directory(starting.directory)
    return code


def delete(context: InstanceContext, name: str, oci_id: str) -> None:
    """Kill and delete a container, keeping its writable layer; no-op if it does not exist."""
    if os.path.isdir(f"{context.oci_root}/{oci_id}"):
        _delete_from_runtime(context, oci_id)
    _remove_directory(get_container_dir(context, name))


def _start(
    context: InstanceContext,
    container: Launch,
    *,
    streams: tuple[int, int, int],
    detach: bool,
    held: listening.HeldSockets | None = None,
) -> StartingContainer:
    """Fork the child that becomes the runtime."""
    place = get_container_dir(context, container.name)
    os.makedirs(f"{place}/stage/rootfs", mode=0o711, exist_ok=True)  # runc's exec requires the path to exist
    for stale in ("pid", "log"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{place}/{stale}")
    maps = _open_maps(context, container.binds)
    start = oci.build_global_argv(context.runtime, context.oci_root, context.cgroups, f"{place}/log")
    caller = os.getpid()
    sockets = held.sockets if held else {}
    argv = oci.build_run_argv(
        start, bundle=place, pid_file=f"{place}/pid", oci_id=container.oci_id, detach=detach, descriptors=len(sockets)
    )
    environment = oci.ENVIRONMENT | namespaces.get_own_marker(context.run_dir)

    def become_runtime() -> None:
        _prepare(context, container, place, maps, held)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        listening.inherit_sockets(sockets)
        cgroups.restore_oom_score()
        _exit_with_parent(caller)
        os.execve(argv[0], argv, environment)

    with listening.reserve_descriptors(sockets):
        child = forks.fork(become_runtime)
    if maps.store is not None:
        os.close(maps.store)
    joins = detach and joining.needs_joining(context.runtime, context.cgroups)
    return StartingContainer(
        child.pid, child.error_fd, place, f"{context.oci_root}/{container.oci_id}" if joins else ""
    )


def _exit_with_parent(caller: int) -> None:
    """Have the kernel kill this process when the caller dies; exit at once if it is dead already."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != caller:
        os.kill(os.getpid(), signal.SIGKILL)


def _prepare(
    context: InstanceContext, container: Launch, place: str, maps: _UsernsFds, held: listening.HeldSockets | None
) -> None:
    """Build the bundle: file system and network namespace on the stage, config.json next to the stage."""
    stage = f"{place}/stage"
    if context.idmap.rootless:
        namespaces.join(context.holder, network=False)
    rootfs.create_stage(stage)
    cgroups.prepare_view(context.cgroups, context.runtime)
    plug = None if container.joins or held else bridge.start_netns_child(context, container.network)
    rootfs.prepare_writable_layer(container.top, context.idmap)
    root = rootfs.mount_root(stage, lowers=container.lowers, top=container.top, userns=maps.store)
    container = _add_home(container, root)
    if held is not None:
        container = container._replace(process=listening.add_socket_variables(container.process, held.sockets))
    if not oci.is_crun(context.runtime):
        accounts.check_account_files(root)
    if container.digest:  # not in a build, where the additions would become part of a layer
        rootfs.complete_root(root, container.directories, context.idmap)
    binds = rootfs.stage_binds(
        stage, _collect_binds(context, container), maps.owners, ids=context.idmap, userns=maps.store
    )
    netns = f"/proc/{container.joins.pid}/ns/net" if container.joins else f"{stage}/netns"
    if plug is not None:
        bridge.pin_child_netns(plug, netns)
    elif held is not None:
        bridge.pin_netns(f"/proc/self/fd/{held.netns}", netns)
    staged = runtime_spec.StagedContainer(
        rootfs=root,
        binds=binds,
        netns=netns,
        userns="" if context.idmap.rootless else f"/proc/{context.holder.pid}/ns/user",
        open_files=get_nofile_limit(),
        swap=container.confine.memory is not None and cgroups.can_limit_swap(context.cgroups),
    )
    write_json(f"{place}/config.json", runtime_spec.build_config(context, container, staged))


def _add_home(container: Launch, root: str) -> Launch:
    """Return the container with HOME set: the runtime would otherwise open a file of the container to find it."""
    process = container.process
    if any(variable.startswith("HOME=") for variable in process.env):
        return container
    found = accounts.find_home(process.uid, accounts.read_file(root, accounts.PASSWD))
    return container._replace(process=process._replace(env=(*process.env, f"HOME={found}")))


def _collect_binds(context: InstanceContext, container: Launch) -> tuple[Bind, ...]:
    """Return the container's own binds and the binds common to all containers."""
    shared = [
        Bind(source, target, read_only=True)
        for source, target in ((context.hosts, "/etc/hosts"), (context.resolv, "/etc/resolv.conf"))
        if source
    ]
    init = [Bind(context.init, runtime_spec.INIT, read_only=True)] if container.init else []
    return (*container.binds, *shared, *init)


def _open_maps(context: InstanceContext, binds: tuple[Bind, ...]) -> _UsernsFds:
    if context.idmap.rootless:
        return _UsernsFds(None, {})
    owners = {key: idmap.open_userns(ids) for key, ids in rootfs.build_owner_maps(context, binds).items()}
    return _UsernsFds(os.open(f"/proc/{context.holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC), owners)


def write_json(path: str, value: dict[str, object]) -> None:
    """Write a JSON file for the runtime with mode 0600; it may contain secrets."""
    import json

    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
    ) as target:
        json.dump(value, target)


def _delete_from_runtime(context: InstanceContext, oci_id: str) -> None:
    """Kill and delete a container through the runtime; another process may delete it concurrently."""
    argv = [*oci.build_global_argv(context.runtime, context.oci_root, context.cgroups), "delete", "--force", oci_id]
    joins = context.idmap.rootless and liveness.is_alive(context.holder)

    def ask() -> None:
        if joins:
            namespaces.join(context.holder, network=False)
        try:
            programs.call(argv, purpose=f"remove the container {oci_id}")
        except CommandFailed:
            if os.path.isdir(f"{context.oci_root}/{oci_id}"):
                raise

    forks.run_in_child(ask) if joins else ask()


def get_nofile_limit() -> int:
    """Return the hard limit on open files of this process, which containers inherit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def get_container_dir(context: InstanceContext, name: str) -> str:
    """Return a container's runtime directory."""
    return f"{context.run_dir}/c/{name}"


def _remove_directory(place: str) -> None:
    """Remove a container's runtime directory."""
    joining.unregister(joining.get_joined_root(place))
    for entry in ("config.json", "pid", "log", "process.json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{place}/{entry}")
    for leaf in (f"{place}/stage/rootfs", f"{place}/stage", place):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(leaf)
