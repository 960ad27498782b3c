"""Orphans: processes of an instance left by dead devbox processes, found by unique marks.

Children of a supervisor have the runtime directory in their environment until they become container processes; runtimes
started elsewhere have it as their `--root`; container processes are in the user namespace of the instance's holder, or
in the instance's cgroup. A one-shot that joined another container has a host name of its own, which its processes
cannot change (CAP_SYS_ADMIN).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from typing import NamedTuple

from devbox.isolation import cgroups, forks, liveness, namespaces, syscalls
from devbox.isolation.namespaces import format_marker, get_pasta_pid_file
from devbox.isolation.types import ProcessRef

PROBE = "probe"  # the name of a probe's output file
_PATIENCE_MS = 5000


def kill_instance(run_dir: str, also: Iterable[ProcessRef] = ()) -> None:
    """Kill every process of the instance and delete its containers. Only while the instance is unsupervised.

    `also` are processes known by other means; dead ones are skipped.
    """
    known, ended = tuple(also), set[int]()
    while (
        found := _find_instance_processes(run_dir, known) - ended
    ):  # a killed process may have started another since the search
        kill_and_wait(found)
        ended |= found
    cgroups.remove_empty_groups(run_dir)
    import shutil  # only if there was something left

    for remembered in ("oci", "c", "kept"):
        shutil.rmtree(f"{run_dir}/{remembered}", ignore_errors=True)


def kill_orphans(run_dir: str, keep: Iterable[int]) -> None:
    """Kill the processes of an instance except those to keep: holder, pasta, every container's pid 1, clients.

    Processes inside kept containers or below kept processes stay, as do runtimes of users' `exec` and `shell`.
    Interrupted starts and probes of a dead supervisor are killed: nothing awaits their result.
    """
    kept = set(keep)
    begun = _find_started(run_dir)
    rooms = {_read_ns_link(pid, "pid") for pid in (*kept, os.getpid())}
    strangers = {pid for pid in _find_userns_members(begun | kept) if _read_ns_link(pid, "pid") not in rooms}
    kill_and_wait(pid for pid in begun | strangers if not _is_or_descends_from(pid, kept))
    own = _read_ns_link(os.getpid(), "pid")
    kill_and_wait(
        pid
        for room in rooms - {own, ""}
        for pid in _list_entered(room)
        if _read_stdout_link(pid).startswith(f"/memfd:{PROBE}")
    )


def kill_runtime(run_dir: str, oci_id: str) -> None:
    """Kill the OCI runtime that is starting the container `oci_id`: it does not always die with its client.

    A process loses its parent-death signal when it changes its user id, as runtimes do.
    """
    word = b"\0" + os.fsencode(oci_id) + b"\0"
    kill_and_wait(pid for pid in _find_runtimes(run_dir) if word in _read_proc(pid, "cmdline"))


def kill_marked(run_dir: str, init: int, mark: str) -> None:
    """Kill the processes with the variable `mark` ("NAME=VALUE") in the container of this pid 1, and their runtimes.

    With them their descendants and sessions, which may have another environment.
    """
    room, word = _read_ns_link(init, "pid"), mark.encode()

    def find() -> set[int]:
        begun = _find_runtimes(run_dir) | {pid for pid in _list_pids() if _read_ns_link(pid, "pid") == room}
        return {pid for pid in begun if word in _read_proc(pid, "environ").split(b"\0")}

    found = _stop_all(find)
    kill_tree(*found)
    kill_and_wait(found)


def kill_one_shot(holder: ProcessRef, name: str, *, rootless: bool) -> None:
    """Kill all processes of the one-shot `name`, which joined a container or whose runtime was killed."""
    kill_and_wait(_stop_all(lambda: _find_by_hostname(holder, name, rootless=rootless)))


def _stop_all(find: Callable[[], set[int]]) -> set[int]:
    """Stop the processes that `find` returns until it returns no others: none can then start another."""
    found = set[int]()
    while more := find() - found:
        send_signal(more, signal.SIGSTOP)
        found |= more
    return found


def find_entered(init: int, output: str) -> ProcessRef | None:
    """Return a process started from outside in the container of this pid 1 whose stdout is the file `output`.

    Its runtime has exited, so that it was reparented to a process outside.
    """
    for pid in _list_entered(_read_ns_link(init, "pid")):
        with contextlib.suppress(OSError):
            if pid != init and os.path.samefile(f"/proc/{pid}/fd/1", output):
                return liveness.identify(pid)
    return None


def kill_and_wait(pids: Iterable[int]) -> None:
    """Kill processes and wait for their exit."""
    waiting = select.poll()
    fds = []
    for pid in pids:
        if liveness.identify(pid) is None:
            continue
        if (fd := liveness.open_pidfd(pid)) is None:
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


def _find_instance_processes(run_dir: str, also: Iterable[ProcessRef]) -> set[int]:
    """Return the pids of all processes of the instance."""
    marked = (
        _find_started(run_dir)
        | _find_runtimes(run_dir)
        | {process.pid for process in also if liveness.is_alive(process)}
    )
    return {*marked, *_find_userns_members(marked), *cgroups.list_members(run_dir)}


def _find_started(run_dir: str) -> set[int]:
    """Return the pids of processes started by a supervisor of this runtime directory, except this one.

    pasta hides its environment and namespaces from ordinary users: it is found by its command line.
    """
    mark, word = format_marker(run_dir).encode() + b"\0", b"\0" + os.fsencode(get_pasta_pid_file(run_dir)) + b"\0"
    return {
        pid for pid in _list_pids() if mark in _read_proc(pid, "environ") + b"\0" or word in _read_proc(pid, "cmdline")
    }


def _find_runtimes(run_dir: str) -> set[int]:
    """Return the pids of OCI runtimes that are working for the instance, started by any process."""
    root = b"--root\0" + os.fsencode(run_dir) + b"/"
    return {pid for pid in _list_pids() if root in _read_proc(pid, "cmdline")}


def _find_userns_members(pids: Iterable[int]) -> set[int]:
    """Return the pids of other processes in the user namespaces of `pids`, except the host's own namespace."""
    desired = {_read_ns_link(pid, "user") for pid in pids} - {_read_ns_link(os.getpid(), "user"), ""}
    return {pid for pid in _list_pids() if _read_ns_link(pid, "user") in desired} if desired else set()


def _find_by_hostname(holder: ProcessRef, name: str, *, rootless: bool) -> set[int]:
    """Return the pids in the holder's user namespace whose host name is `name`."""
    rooms: dict[str, set[int]] = {}
    for pid in _find_userns_members({holder.pid}):
        rooms.setdefault(_read_ns_link(pid, "uts"), set()).add(pid)
    rooms.pop("", None)
    if not rooms:
        return set()  # the holder may be gone, too
    read_end, write_end = os.pipe()

    def ask() -> None:
        if rootless:
            namespaces.join(holder, network=False)
        for room, pids in rooms.items():
            for pid in pids:
                with contextlib.suppress(OSError):  # exited: try another process in the same namespace
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


def _list_pids() -> list[int]:
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != me]


def _read_proc(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as source:
            return source.read()
    except OSError:
        return b""


def _list_entered(room: str) -> list[int]:
    """Return the processes in a pid namespace with an outside parent: its pid 1 and executed commands."""
    return [
        pid
        for pid in _list_pids()
        if _read_ns_link(pid, "pid") == room and _read_ns_link(_read_parent(pid), "pid") != room
    ]


def _read_stdout_link(pid: int) -> str:
    """Return the target of a process's standard output."""
    try:
        return os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return ""


def _read_ns_link(pid: int, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def _is_or_descends_from(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        if pid in ancestors:
            return True
        pid = _read_parent(pid)
    return False


def _read_parent(pid: int) -> int:
    fields = _read_proc(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


_STATE, _PARENT, _SESSION, _START_TIME = 0, 1, 3, 19  # fields of /proc/PID/stat after the name


class _ProcessInfo(NamedTuple):
    process: ProcessRef
    parent: int
    session: int


def find_leftovers(pid: int) -> set[ProcessRef]:
    """Return the descendants of a process that has just exited; its pid must not be reused yet."""
    return _find_descendants({pid})


def find_running(processes: Iterable[ProcessRef]) -> set[ProcessRef]:
    """Return the processes that still run, and their descendants."""
    known = set(processes)
    alive = {each.process for each in _list_processes()} & known if known else known
    return alive | _find_descendants({process.pid for process in alive}) if alive else set()


def send_signal(pids: Iterable[int], number: int) -> None:
    """Signal all processes; ignore exited ones."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_tree(*pids: int) -> None:
    """Kill processes that were not reaped yet, and all their descendants, including those started meanwhile."""
    ended = set(pids)
    send_signal(pids, signal.SIGSTOP)  # otherwise a child that is just being started would be missed
    while found := {each.pid for each in _find_descendants(ended)} - ended:
        send_signal(found, signal.SIGKILL)
        ended |= found
    send_signal(pids, signal.SIGKILL)


def _find_descendants(pids: set[int]) -> set[ProcessRef]:
    """Return all running descendants of these processes; one of these only if another of them started it."""
    seen, known, found = _list_processes(), set(pids), set[ProcessRef]()
    while more := {each for each in seen if each.process not in found and {each.parent, each.session} & known}:
        found |= {each.process for each in more}
        known |= {each.process.pid for each in more}
    return found


def _list_processes() -> list[_ProcessInfo]:
    """List all running processes of the host."""
    seen = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as source:
                facts = source.read().rpartition(")")[2].split()
        except OSError:
            continue  # it has exited
        if facts[_STATE] not in "ZX":
            process = ProcessRef(int(name), int(facts[_START_TIME]))
            seen.append(_ProcessInfo(process, int(facts[_PARENT]), int(facts[_SESSION])))
    return seen
