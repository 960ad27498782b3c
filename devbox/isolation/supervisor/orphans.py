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
from typing import NamedTuple

from devbox.isolation import cgroups, forks, namespaces, state, syscalls
from devbox.isolation.namespaces import format_marker, get_pasta_pid_file
from devbox.isolation.types import ProcessRef

PROBE = "probe"  # what a probe prints to, by name
_PATIENCE_MS = 5000


def kill_instance(run_dir: str, also: Iterable[ProcessRef] = ()) -> None:
    """End every process of the instance, and forget its containers. Only when nobody supervises it.

    `also` are processes known by other means; those that live no more are passed over.
    """
    known, ended = tuple(also), set[int]()
    while (
        found := _find_instance_processes(run_dir, known) - ended
    ):  # what is killed may have started something since it was found
        kill_and_wait(found)
        ended |= found
    cgroups.remove_empty_groups(run_dir)
    import shutil  # only where something was left

    for remembered in ("oci", "c", "kept"):
        shutil.rmtree(f"{run_dir}/{remembered}", ignore_errors=True)


def kill_orphans(run_dir: str, keep: Iterable[int]) -> None:
    """End what an instance has beside the processes to keep: holder, pasta, every container's pid 1, clients.

    What runs inside a kept container, or below a kept process, stays, and so do the runtimes of people's `exec` and
    `shell`. What a dead supervisor had just begun to start goes, and so do its probes: nobody waits for their answer.
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
    """End the OCI runtime that starts the container `oci_id`: the kernel does not always end it with its client.

    A process that is to be killed with its parent loses that setting when it changes its user id, as runtimes do.
    """
    word = b"\0" + os.fsencode(oci_id) + b"\0"
    kill_and_wait(pid for pid in _find_runtimes(run_dir) if word in _read_proc(pid, "cmdline"))


def kill_one_shot(holder: ProcessRef, name: str, *, rootless: bool) -> None:
    """End every process of the one-shot container `name`: one that joined another's, or whose runtime was killed.

    Each one found is stopped before any is killed, so that none starts another meanwhile.
    """
    found = set[int]()
    while more := _find_by_hostname(holder, name, rootless=rootless) - found:
        for pid in more:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        found |= more
    kill_and_wait(found)


def find_entered(init: int, output: str) -> ProcessRef | None:
    """A process that was started in the container of this pid 1 from outside, and prints to the file `output`.

    Its parent is a runtime that has ended, so that it was left to some process outside.
    """
    for pid in _list_entered(_read_ns_link(init, "pid")):
        with contextlib.suppress(OSError):
            if pid != init and os.path.samefile(f"/proc/{pid}/fd/1", output):
                return state.identify(pid)
    return None


def kill_and_wait(pids: Iterable[int]) -> None:
    """Kill processes and wait until they are gone."""
    waiting = select.poll()
    fds = []
    for pid in pids:
        if state.identify(pid) is None:
            continue
        if (fd := state.open_pidfd(pid)) is None:
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
    """Every process of the instance."""
    marked = (
        _find_started(run_dir) | _find_runtimes(run_dir) | {process.pid for process in also if state.is_alive(process)}
    )
    return {*marked, *_find_userns_members(marked), *cgroups.list_members(run_dir)}


def _find_started(run_dir: str) -> set[int]:
    """Processes, other than this one, that a supervisor of this runtime directory started.

    pasta lets no ordinary user read its environment, or see its namespaces: it is known by its words.
    """
    mark, word = format_marker(run_dir).encode() + b"\0", b"\0" + os.fsencode(get_pasta_pid_file(run_dir)) + b"\0"
    return {
        pid for pid in _list_pids() if mark in _read_proc(pid, "environ") + b"\0" or word in _read_proc(pid, "cmdline")
    }


def _find_runtimes(run_dir: str) -> set[int]:
    """OCI runtimes at work for the instance, whoever started them."""
    root = b"--root\0" + os.fsencode(run_dir) + b"/"
    return {pid for pid in _list_pids() if root in _read_proc(pid, "cmdline")}


def _find_userns_members(pids: Iterable[int]) -> set[int]:
    """Processes, other than this one, in a user namespace of one of these; the host's own is not meant."""
    wanted = {_read_ns_link(pid, "user") for pid in pids} - {_read_ns_link(os.getpid(), "user"), ""}
    return {pid for pid in _list_pids() if _read_ns_link(pid, "user") in wanted} if wanted else set()


def _find_by_hostname(holder: ProcessRef, name: str, *, rootless: bool) -> set[int]:
    """Processes in the holder's user namespace whose host name is `name`."""
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
    """The processes in a pid namespace whose parents are outside of it: its pid 1, and what was executed in it."""
    return [
        pid
        for pid in _list_pids()
        if _read_ns_link(pid, "pid") == room and _read_ns_link(_read_parent(pid), "pid") != room
    ]


def _read_stdout_link(pid: int) -> str:
    """What the standard output of a process is."""
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
    """What a process that has just ended leaves running: its number must not be anybody else's yet."""
    return _find_descendants({pid})


def find_running(processes: Iterable[ProcessRef]) -> set[ProcessRef]:
    """Those of them that run yet, and what they have started."""
    known = set(processes)
    alive = {each.process for each in _list_processes()} & known if known else known
    return alive | _find_descendants({process.pid for process in alive}) if alive else set()


def send_signal(processes: Iterable[ProcessRef], number: int) -> None:
    """Signal all of them; some may be gone by now."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def kill_tree(pid: int) -> None:
    """Kill a process that was not reaped yet, and all that it has started, also what that starts meanwhile."""
    ended = {pid}
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # what it is starting just now would else be found by nobody
    while found := {each for each in _find_descendants(ended) if each.pid not in ended}:
        send_signal(found, signal.SIGKILL)
        ended |= {each.pid for each in found}
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _find_descendants(pids: set[int]) -> set[ProcessRef]:
    """What runs of all that these have started; themselves only where one has started another."""
    seen, known, found = _list_processes(), set(pids), set[ProcessRef]()
    while more := {each for each in seen if each.process not in found and {each.parent, each.session} & known}:
        found |= {each.process for each in more}
        known |= {each.process.pid for each in more}
    return found


def _list_processes() -> list[_ProcessInfo]:
    """Every process of this machine that runs."""
    seen = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as source:
                facts = source.read().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if facts[_STATE] not in "ZX":
            process = ProcessRef(int(name), int(facts[_START_TIME]))
            seen.append(_ProcessInfo(process, int(facts[_PARENT]), int(facts[_SESSION])))
    return seen
