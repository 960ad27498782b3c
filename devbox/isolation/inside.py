"""Start processes inside running containers, as children of this process (`crun exec` behind a fork)."""

from __future__ import annotations

import os

from devbox.isolation import forks, namespaces
from devbox.isolation.oci import exec_argv, global_argv
from devbox.isolation.types import Context, Process


def spawn(context: Context, oci_id: str, process: Process, *, output: int, log: str, pid_file: str = "") -> int:
    """The pid of the runtime, which runs `process` with both its streams on the descriptor `output`.

    The process has the container's environment; its own `env` is not looked at.
    With `pid_file` the runtime ends as soon as the process runs, and leaves it to this process as its subreaper.
    """

    def work() -> None:
        if context.idmap.rootless:
            namespaces.join(context.holder, network=False)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        start = global_argv(context.runtime, context.oci_root, context.cgroups, log)
        user = f"{process.uid}:{process.gid}"
        argv = exec_argv(start, oci_id, process.argv, user=user, cwd=process.cwd, pid_file=pid_file)
        os.execv(argv[0], argv)

    child = forks.fork(work)
    os.close(child.error_fd)
    return child.pid
