"""Teardown of an instance, including leftovers of killed processes."""

from __future__ import annotations

import contextlib
import os
import select

from devbox.engines.native.data_dirs import WritableLayers
from devbox.errors import EngineError
from devbox.host import disk
from devbox.host.paths import Paths
from devbox.isolation import liveness, state, trees
from devbox.isolation.idmap import load_store_map
from devbox.isolation.start_supervisor import connect_supervisor
from devbox.isolation.supervisor import orphans
from devbox.isolation.types import ProcessRef

TYPE_CHECKING = False

_PATIENCE_MS = 10_000


def tear_down(paths: Paths, instance: str, *, volumes: bool) -> None:
    """Stop everything of the instance and remove its runtime data; with `volumes` also its persistent data."""
    before = _read_known_state(paths, instance)
    _shut_down(paths, instance, before)
    also = [process for process in (before.holder, before.egress) if process] if before else []
    also += [row.process for row in before.containers if row.process] if before else []
    orphans.kill_instance(paths.instance_runtime(instance), also)
    idmap = load_store_map(paths)
    WritableLayers(paths, instance).remove_all(kept=volumes, idmap=idmap)
    if volumes:
        trees.remove(idmap, paths.volumes(instance))
        _remove(os.path.dirname(paths.log(instance, "any")))
        _remove(os.path.dirname(paths.writable_layer(instance, "any")))
    _remove(paths.instance_runtime(instance))
    with contextlib.suppress(OSError):  # other instances are running
        os.rmdir(paths.runtime)
        if os.path.basename(os.path.dirname(paths.runtime)) == f"devbox-{os.geteuid()}":  # devbox's own, not a user's
            os.rmdir(os.path.dirname(paths.runtime))


def _read_known_state(paths: Paths, instance: str) -> state.InstanceState | None:
    """Return the instance's recorded state; None if unreadable: it is then taken down by its process marks alone."""
    try:
        return state.read_state_file(paths, instance)
    except EngineError:
        return None


def _shut_down(paths: Paths, instance: str, before: state.InstanceState | None) -> None:
    """Have the supervisor stop its containers in order, and wait for its exit."""
    supervisor = connect_supervisor(paths, instance)
    if supervisor is None:
        return
    with contextlib.suppress(EngineError):  # the supervisor was just killed: its leftovers are swept, too
        supervisor.call("shutdown")
    supervisor.close()
    if before is not None:
        await_exit(before.supervisor, patience_ms=_PATIENCE_MS)


def await_exit(process: ProcessRef, *, patience_ms: int | None = None) -> None:
    """Wait for a supervisor's exit, at most `patience_ms`. A shutting-down supervisor first stops its containers."""
    if not liveness.is_alive(process):
        return
    if (fd := liveness.open_pidfd(process.pid)) is None:
        return
    waiter = select.poll()
    waiter.register(fd, select.POLLIN)
    waiter.poll(patience_ms)
    os.close(fd)
    with contextlib.suppress(ChildProcessError):  # if it is a child of this process: reap it
        os.waitpid(process.pid, os.WNOHANG)


def _remove(path: str) -> None:
    if os.path.lexists(path):
        disk.remove(path)
