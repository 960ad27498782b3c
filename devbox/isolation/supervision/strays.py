"""What dead processes of devbox left of an instance: found by marks that nothing else on the machine carries.

What an instance's supervisor started carries the runtime directory in its environment until it becomes a process of
a container; runtimes that somebody else started have it as their `--root`; a container's processes live in the user
namespace of the instance's holder, or in the instance's cgroup. A one-shot that joined another container's processes
has a host name of its own, which no process in it may change: that takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable

from devbox.isolation import cgroups, forks, living, namespaces, syscalls
from devbox.isolation.contexts import marker, pasta_pid_file
from devbox.isolation.types import ProcessRef

PROBE = "probe"  # what a probe prints to, by name
_PATIENCE_MS = 5000


def sweep(run_dir: str, also: Iterable[ProcessRef] = ()) -> None:
    """End every process of the instance, and forget its containers. Only when nobody supervises it.

    `also` are processes known by other means; those that live no more are passed over.
    """
    known, ended = tuple(also), set[int]()
    while found := _left(run_dir, known) - ended:  # what is killed may have started something since it was found
        end(found)
        ended |= found
    cgroups.sweep(run_dir)
    import shutil  # only where something was left

    for remembered in ("oci", "c", "kept"):
        shutil.rmtree(f"{run_dir}/{remembered}", ignore_errors=True)


def sweep_around(run_dir: str, keep: Iterable[int]) -> None:
    """End what an instance has beside the processes to keep: holder, pasta, every container's pid 1, clients.

    What runs inside a kept container, or below a kept process, stays, and so do the runtimes of people's `exec` and
    `shell`. What a dead supervisor had just begun to start goes, and so do its probes: nobody waits for their answer.
    """
    kept = set(keep)
    begun = _begun(run_dir)
    rooms = {_link(pid, "pid") for pid in (*kept, os.getpid())}
    strangers = {pid for pid in _sharing_user_namespace(begun | kept) if _link(pid, "pid") not in rooms}
    end(pid for pid in begun | strangers if not _is_or_descends_from(pid, kept))
    own = _link(os.getpid(), "pid")
    end(pid for room in rooms - {own, ""} for pid in _entered(room) if _output(pid).startswith(f"/memfd:{PROBE}"))


def end_runtime(run_dir: str, oci_id: str) -> None:
    """End the OCI runtime that starts the container `oci_id`: the kernel does not always end it with its client.

    A process that is to be killed with its parent loses that setting when it changes its user id, as runtimes do.
    """
    word = b"\0" + os.fsencode(oci_id) + b"\0"
    end(pid for pid in _runtimes(run_dir) if word in _read(pid, "cmdline"))


def end_joined(holder: ProcessRef, name: str, *, rootless: bool) -> None:
    """End every process of the one-shot container `name`: one that joined another's, or whose runtime was killed.

    Each one found is stopped before any is killed, so that none starts another meanwhile.
    """
    found = set[int]()
    while more := _named(holder, name, rootless=rootless) - found:
        for pid in more:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        found |= more
    end(found)


def came_in(init: int, output: str) -> ProcessRef | None:
    """A process that was started in the container of this pid 1 from outside, and prints to the file `output`.

    Its parent is a runtime that has ended, so that it was left to some process outside.
    """
    for pid in _entered(_link(init, "pid")):
        with contextlib.suppress(OSError):
            if pid != init and os.path.samefile(f"/proc/{pid}/fd/1", output):
                return living.identify(pid)
    return None


def end(pids: Iterable[int]) -> None:
    """Kill processes and wait until they are gone."""
    waiting = select.poll()
    fds = []
    for pid in pids:
        if living.identify(pid) is None:
            continue
        if (fd := living.open_pidfd(pid)) is None:
            continue
        fds.append(fd)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        waiting.register(fd, select.POLLIN)
    left = len(fds)
    while left and (ready := waiting.poll(_PATIENCE_MS)):
        for fd, _ in ready:
            waiting.unregister(fd)
        left -= len(ready)
    for fd in fds:
        os.close(fd)


def _left(run_dir: str, also: Iterable[ProcessRef]) -> set[int]:
    """Every process of the instance."""
    marked = _begun(run_dir) | _runtimes(run_dir) | {process.pid for process in also if living.alive(process)}
    return {*marked, *_sharing_user_namespace(marked), *cgroups.members(run_dir)}


def _begun(run_dir: str) -> set[int]:
    """Processes, other than this one, that a supervisor of this runtime directory started.

    pasta lets no ordinary user read its environment, or see its namespaces: it is known by its words.
    """
    mark, word = marker(run_dir).encode() + b"\0", b"\0" + os.fsencode(pasta_pid_file(run_dir)) + b"\0"
    return {pid for pid in _others() if mark in _read(pid, "environ") + b"\0" or word in _read(pid, "cmdline")}


def _runtimes(run_dir: str) -> set[int]:
    """OCI runtimes at work for the instance, whoever started them."""
    root = b"--root\0" + os.fsencode(run_dir) + b"/"
    return {pid for pid in _others() if root in _read(pid, "cmdline")}


def _sharing_user_namespace(pids: Iterable[int]) -> set[int]:
    """Processes, other than this one, in a user namespace of one of these; the host's own is not meant."""
    wanted = {_link(pid, "user") for pid in pids} - {_link(os.getpid(), "user"), ""}
    return {pid for pid in _others() if _link(pid, "user") in wanted} if wanted else set()


def _named(holder: ProcessRef, name: str, *, rootless: bool) -> set[int]:
    """Processes in the holder's user namespace whose host name is `name`."""
    rooms: dict[str, set[int]] = {}
    for pid in _sharing_user_namespace({holder.pid}):
        rooms.setdefault(_link(pid, "uts"), set()).add(pid)
    rooms.pop("", None)
    if not rooms:
        return set()  # the holder may be gone, too
    read_end, write_end = os.pipe()

    def ask() -> None:
        if rootless:
            namespaces.join(holder, network=False)
        for room, pids in rooms.items():
            for pid in pids:
                with contextlib.suppress(OSError):  # it has ended: another one in the same namespace is asked
                    syscalls.setns(f"/proc/{pid}/ns/uts")
                    break
            if os.readlink("/proc/self/ns/uts") == room and os.uname().nodename == name:
                os.write(write_end, f"{room}\n".encode())

    child = forks.fork(ask)
    os.close(write_end)
    with open(read_end, encoding="ascii") as answer:
        named = answer.read().split()
    forks.wait(child)
    return {pid for room in named for pid in rooms[room]}


def _others() -> list[int]:
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != me]


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as source:
            return source.read()
    except OSError:
        return b""


def _entered(room: str) -> list[int]:
    """The processes in a pid namespace whose parents are outside of it: its pid 1, and what was executed in it."""
    return [pid for pid in _others() if _link(pid, "pid") == room and _link(_parent(pid), "pid") != room]


def _output(pid: int) -> str:
    """What the standard output of a process is."""
    try:
        return os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return ""


def _link(pid: int, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def _is_or_descends_from(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        if pid in ancestors:
            return True
        pid = _parent(pid)
    return False


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0
