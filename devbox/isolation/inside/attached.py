"""One-shot containers on the caller's own streams: a sleeping init, in which the command is executed.

So a one-shot command has what `exec` gives: a terminal, exit codes that tell 126 from 127, and an init beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from devbox.isolation import delegation, forks, joining, launch, namespaces, oci, spec, syscalls
from devbox.isolation.types import Context, Launch, ProcessRef


def run_attached(context: Context, container: Launch, *, on_start: Callable[[int], None] | None = None) -> int:
    """Run a container on this process's own streams to its end; its exit code, 128+n on a signal.

    126 and 127 when its command could not be executed or found. `on_start` gets the pid to which signals belong. This
    process becomes a subreaper, and reaps whatever child of it has ended by then. Without limits the container has no
    cgroup of its own: making one takes longer than everything else. `launch.delete` is the caller's to call.
    """
    confine = container.confine
    if confine.memory is confine.cpus is confine.pids is None:
        context = context._replace(cgroups="none")
    elif context.idmap.rootless and context.group:
        delegation.approach(context.group)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    asleep = container._replace(init=True, process=container.process._replace(argv=(), tty=False))
    with open(os.devnull, "r+b", buffering=0) as nothing:
        streams = nothing.fileno()
        starting = launch.launch(context, asleep, stdin=streams, stdout=streams, stderr=streams)
    init = launch.finish(starting)
    try:
        return _execute(context, container, init, on_start)
    finally:
        _end(init)


def _execute(context: Context, container: Launch, init: ProcessRef, on_start: Callable[[int], None] | None) -> int:
    """Execute the container's process inside it, and wait."""
    place = launch.directory(context, container.name)
    log, process = f"{place}/log", f"{place}/process.json"
    launch.write_json(process, spec.process(container._replace(init=False), launch.open_files()))
    start = oci.global_argv(context.runtime, context.oci_root, context.cgroups, log)
    command = [*start, "exec", "--process", process, container.oci_id]

    def become_runtime() -> None:
        if context.idmap.rootless:
            namespaces.join(context.holder, network=False)
        joined = joining.root(place)
        here = os.path.isdir(joined) and joining.join(init.pid)
        os.execve(command[0], oci.rooted(command, joined) if here else command, oci.ENVIRONMENT)

    child = forks.fork(become_runtime)
    if on_start is not None:
        on_start(child.pid)
    failure = forks.read_failure(child.error_fd)
    status = os.waitpid(child.pid, 0)[1]
    if failure is not None:
        raise failure
    return oci.exit_code(os.waitstatus_to_exitcode(status), log)


def _end(init: ProcessRef) -> None:
    """Kill everything in the container and wait for it: a runtime that finds it alive sleeps for 10 ms.

    Its pid namespace ends only when all its dead are reaped, some of which the runtime left to this process.
    """
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(init.pid, signal.SIGKILL)
        while os.waitpid(-1, 0)[0] != init.pid:
            pass
