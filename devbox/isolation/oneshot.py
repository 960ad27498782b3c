"""One-shot containers: on the caller's own streams, in the instance's network, removed on exit."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping

from devbox.errors import CannotRun, EngineError
from devbox.host.paths import Paths
from devbox.isolation import (
    delegation,
    exec,
    forks,
    joining,
    launch,
    namespaces,
    oci,
    runtime_spec,
    start_supervisor,
    state,
    syscalls,
)
from devbox.isolation.types import InstanceContext, Launch, NetNode, NetworkAccess, ProcessRef, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.isolation.client import Client


def run_attached(context: InstanceContext, container: Launch, *, on_start: Callable[[int], None] | None = None) -> int:
    """Run a container on this process's own streams; return its exit code, 128+n on a signal.

    126 if its command cannot be executed, 127 if not found. `on_start` receives the pid that signals must be sent to.
    This process becomes a subreaper and reaps any child that exits meanwhile. Without limits the container has no
    cgroup of its own, which would dominate the start-up time. The caller must call `launch.delete`.
    """
    confine = container.confine
    if confine.memory is confine.cpus is confine.pids is None:
        context = context._replace(cgroups="none")
    elif context.idmap.rootless and context.group:
        delegation.ensure_access(context.group)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    asleep = container._replace(init=True, process=container.process._replace(argv=(), tty=False))
    with open(os.devnull, "r+b", buffering=0) as devnull:
        streams = devnull.fileno()
        starting = launch.launch(context, asleep, stdin=streams, stdout=streams, stderr=streams)
    init = launch.finish(starting)
    try:
        return _execute(context, container, init, on_start)
    finally:
        _kill_container(init)


def _execute(
    context: InstanceContext, container: Launch, init: ProcessRef, on_start: Callable[[int], None] | None
) -> int:
    """Execute the container's process inside it, and wait."""
    place = launch.get_container_dir(context, container.name)
    log, process = f"{place}/log", f"{place}/process.json"
    launch.write_json(process, runtime_spec.build_process(container._replace(init=False), launch.get_nofile_limit()))
    start = oci.build_global_argv(context.runtime, context.oci_root, context.cgroups, log)
    command = [*start, "exec", "--process", process, container.oci_id]

    def become_runtime() -> None:
        if context.idmap.rootless:
            namespaces.join(context.holder, network=False)
        joined = joining.get_joined_root(place)
        here = os.path.isdir(joined) and joining.join(init.pid)
        os.execve(command[0], oci.replace_root(command, joined) if here else command, oci.ENVIRONMENT)

    child = forks.fork(become_runtime)
    if on_start is not None:
        on_start(child.pid)
    failure = forks.read_failure(child.error_fd)
    status = os.waitpid(child.pid, 0)[1]
    if failure is not None:
        raise failure
    return oci.translate_exit_code(os.waitstatus_to_exitcode(status), log)


def _kill_container(init: ProcessRef) -> None:
    """Kill the container and wait for its end: a runtime that finds it alive sleeps for 10 ms.

    Its pid namespace ends only when all its dead are reaped, including orphans inherited by this process.
    """
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(init.pid, signal.SIGKILL)
        while os.waitpid(-1, 0)[0] != init.pid:
            pass


def run(paths: Paths, instance: str, container: Launch, *, connected: bool) -> int:
    """Run a container and return its exit code. Raises CannotRun if the instance is unsupervised."""
    return _run_leased(_connect_supervisor(paths, instance, container.name), container, connected=connected)


def _connect_supervisor(paths: Paths, instance: str, container: str) -> Client:
    supervisor = start_supervisor.connect_supervisor(paths, instance)
    if supervisor is None:
        raise CannotRun(f"{container} is not supervised", remedy="devbox up")
    return supervisor


def _run_leased(supervisor: Client, container: Launch, *, connected: bool) -> int:
    """Run a container under a lease of the supervisor, which cleans up afterwards, even after a kill -9."""
    request = {"name": container.name, "oci_id": container.oci_id, "top": container.top}
    reach = NetworkAccess(container.host_ports, container.egress)
    answer = supervisor.call("lease", **request, joined=container.joins is not None, reach=pack(reach))
    node = unpack(NetNode, answer["node"]) if connected else None
    signals = exec.SignalForwarder()
    try:
        run_it = _run_joined if container.joins else run_attached
        return run_it(
            unpack(InstanceContext, answer["context"]), container._replace(network=node), on_start=signals.start
        )
    finally:
        signals.stop()
        with contextlib.suppress(EngineError):  # the supervisor was killed: its successor cleans up after this process
            supervisor.call("release", name=container.name)
        supervisor.close()


def _run_joined(context: InstanceContext, container: Launch, *, on_start: Callable[[int], None]) -> int:

    return run_joined(context, container, on_start=on_start)


def run_clone(
    paths: Paths,
    instance: str,
    source: str,
    argv: tuple[str, ...],
    *,
    tty: bool,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str | None = None,
) -> int:
    """Run a container like the running container `source`, with its own command and a fresh writable layer.

    `env` is added to the source's; `cwd` and `user` default to the source's. Raises CannotRun if `source` is not
    running or unsupervised.
    """
    entry = exec.read_entry(paths.entry_file(instance, source), source)
    item = state.load_launch_file(paths, instance, source)
    if item is None:
        raise CannotRun(f"{source} is not supervised", remedy="devbox up")
    like = item.launch
    exec.link_agent(paths, instance)
    ids, groups = exec.resolve_ids(user, entry)
    if user is not None:
        env = {"HOME": exec.find_home(ids, entry), **env}
    uid, _, gid = ids.partition(":")
    supervisor = _connect_supervisor(paths, instance, source)
    container = _build_clone(like, paths, instance, argv, env)
    process = container.process._replace(cwd=cwd or entry["cwd"], uid=int(uid), gid=int(gid), groups=groups)
    if tty:
        columns, rows = get_terminal_size()
        process = process._replace(tty=True, rows=rows, columns=columns)
    return _run_leased(supervisor, container._replace(process=process), connected=like.network is not None)


def get_terminal_size() -> tuple[int, int]:
    """Return columns and rows of the terminal on standard output; zeros without one."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return columns, rows


def _build_clone(like: Launch, paths: Paths, instance: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Launch:
    name = f"run-{os.getpid()}"
    top = paths.writable_layer(instance, name)
    os.makedirs(top, mode=0o711, exist_ok=True)
    names = tuple(f"{variable}=" for variable in env)
    kept = [variable for variable in like.process.env if not variable.startswith(names)]
    variables = (*kept, *(f"{variable}={value}" for variable, value in env.items()))
    process = like.process._replace(argv=argv, env=variables)
    return like._replace(name=name, oci_id=f"{instance}-{name}", top=top, process=process)


def run_joined(context: InstanceContext, container: Launch, *, on_start: Callable[[int], None] | None = None) -> int:
    """Run a container that `joins` another on this process's own streams; return its exit code.

    The one-shot has no control group. The supervisor kills its leftovers among the other container's processes when the
    lease is released or its client is killed.
    """
    bare = context._replace(cgroups="none")
    return launch.run_bare(bare, container._replace(init=False), streams=(0, 1, 2), on_start=on_start)


def run_captured(
    paths: Paths,
    instance: str,
    container: str,
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    on_line: Callable[[str], None],
    marks: Mapping[str, str] | None = None,
) -> int:
    """Run a command without input, pass the lines of both streams to `on_line`, and return its exit code.

    `marks`: see `exec.start_command`.
    """
    from devbox.host import process

    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    read_end, write_end = os.pipe()
    try:
        streams = (null, write_end, write_end)
        pid, log = exec.start_command(paths, instance, container, argv, env=env, streams=streams, marks=marks)
    finally:
        os.close(null)
        os.close(write_end)
    try:
        process.read_until_end(read_end, pid, on_line)
    finally:
        os.close(read_end)
    return exec.wait_for_command(pid, log, container)
