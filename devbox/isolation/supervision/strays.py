"""What dead processes of devbox left of an instance: found by marks that nothing else on the machine carries.

Programs that devbox started for an instance have its runtime directory in their environment (the OCI runtime: as its
`--root`); a container's processes live in the user namespace of the instance's holder, or in the instance's cgroup.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable

from devbox.isolation import cgroups, living
from devbox.isolation.contexts import marker
from devbox.isolation.types import ProcessRef

_PATIENCE_MS = 5000


def sweep(run_dir: str, also: Iterable[ProcessRef] = ()) -> None:
    """End every process of the instance, and forget its containers. Only when nobody supervises it.

    `also` are processes known by other means; those that live no more are passed over.
    """
    marked = _marked(run_dir) | {process.pid for process in also if living.alive(process)}
    end({*marked, *_sharing_user_namespace(marked), *cgroups.members(run_dir)})
    cgroups.sweep(run_dir)
    import shutil  # only where something was left

    for remembered in ("oci", "c", "kept"):
        shutil.rmtree(f"{run_dir}/{remembered}", ignore_errors=True)


def sweep_around(run_dir: str, keep: Iterable[int]) -> None:
    """End what an instance has beside the processes to keep: holder, pasta, every container's pid 1, clients.

    What runs inside a kept container, or below a kept process, stays; what a dead supervisor had just begun to start
    goes.
    """
    kept = set(keep)
    marked = _marked(run_dir)
    found = marked | _sharing_user_namespace(marked | kept)
    own = _link(os.getpid(), "pid")
    rooms = {_link(pid, "pid") for pid in kept} - {own, ""}
    end(pid for pid in found if _link(pid, "pid") not in rooms and not _is_or_descends_from(pid, kept))


def end(pids: Iterable[int]) -> None:
    """Kill processes and wait until they are gone."""
    waiting = select.poll()
    fds = []
    for pid in pids:
        if living.identify(pid) is None:
            continue
        try:
            fd = os.pidfd_open(pid)
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            continue
        waiting.register(fd, select.POLLIN)
        fds.append(fd)
    left = len(fds)
    while left and (ready := waiting.poll(_PATIENCE_MS)):
        for fd, _ in ready:
            waiting.unregister(fd)
        left -= len(ready)
    for fd in fds:
        os.close(fd)


def _marked(run_dir: str) -> set[int]:
    """Processes, other than this one, that devbox started for the instance of this runtime directory."""
    in_environment = marker(run_dir).encode() + b"\0"
    as_root = b"--root\0" + os.fsencode(run_dir) + b"/oci\0"
    return {
        pid for pid in _others() if in_environment in _read(pid, "environ") + b"\0" or as_root in _read(pid, "cmdline")
    }


def _sharing_user_namespace(pids: Iterable[int]) -> set[int]:
    """Processes, other than this one, in a user namespace of one of these; the host's own is not meant."""
    wanted = {_link(pid, "user") for pid in pids} - {_link(os.getpid(), "user"), ""}
    return {pid for pid in _others() if _link(pid, "user") in wanted} if wanted else set()


def _others() -> list[int]:
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != me]


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as source:
            return source.read()
    except OSError:
        return b""


def _link(pid: int, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def _is_or_descends_from(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        if pid in ancestors:
            return True
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return False
