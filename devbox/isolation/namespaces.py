"""The holder: one sleeping process per instance, whose user and network namespaces everyone else joins."""

from __future__ import annotations

import os
from collections.abc import Callable

from devbox.errors import EngineError
from devbox.isolation import forks, idmap, syscalls
from devbox.isolation.living import alive, identify
from devbox.isolation.types import IdMap, ProcessRef


def start_holder(ids: IdMap, init: str) -> ProcessRef:
    """Start the holder (`catatonit -P`) as this process's child: a new user namespace and a network namespace it owns.

    It outlives this process, and the namespaces with it.
    """
    ready, mapped = os.pipe(), os.pipe()

    def hold() -> None:
        os.close(mapped[1])
        os.setsid()
        idmap.new_user_namespace(syscalls.CLONE_NEWNET)
        os.write(ready[1], b"1")
        if not os.read(mapped[0], 1):
            raise EngineError(
                "the user namespace got no id map", remedy="devbox up once more; devbox doctor looks for the cause"
            )
        idmap.become_root()
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os.execv(init, [init, "-P"])

    child = forks.fork(hold)
    os.close(ready[1])
    os.close(mapped[0])
    try:
        if os.read(ready[0], 1):
            idmap.write_maps(child.pid, ids)
            os.write(mapped[1], b"1")
    finally:
        os.close(ready[0])
        os.close(mapped[1])
        failure = forks.read_failure(child.error_fd)
    holder = identify(child.pid)
    if failure is not None or holder is None:
        os.waitpid(child.pid, 0)
        raise failure or EngineError(
            "the holder of the instance's namespaces died at once",
            remedy="devbox up once more; devbox doctor looks for the cause",
        )
    return holder


def join(holder: ProcessRef, *, user: bool = True, network: bool = True) -> None:
    """Put this process into the holder's namespaces, as their root. EngineError when the holder is gone."""
    if not alive(holder):
        raise EngineError(
            "the process that holds the instance's namespaces is gone", remedy="devbox down, then devbox up"
        )
    if user:
        syscalls.setns(f"/proc/{holder.pid}/ns/user")
        idmap.become_root()
    if network:
        syscalls.setns(f"/proc/{holder.pid}/ns/net")


def run_inside(holder: ProcessRef, work: Callable[[], None]) -> None:
    """Run `work` in a forked child that has joined the holder's namespaces as their root. Its error is raised here."""

    def joined() -> None:
        join(holder)
        work()

    forks.inside(joined)
