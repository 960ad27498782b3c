"""Processes of containers with their CPU time and memory, from /proc: the same as root, as a user, with any runtime."""

from __future__ import annotations

import os
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _USER_TIME, _SYSTEM_TIME, _THREADS = 1, 11, 12, 17  # fields of /proc/PID/stat after the name
_KILO = 1024


class ProcessUsage(NamedTuple):
    """A process. `pid`, `parent`: in its container's pid namespace (0: outside); `host_pid`, `uid`: on the host.

    `cpu`: seconds; `memory`: bytes, with each shared page divided by its users (PSS); `command`: one line.
    """

    pid: int
    parent: int
    host_pid: int
    uid: int
    cpu: float
    memory: int
    threads: int
    command: str


def list_processes(inits: Collection[int]) -> dict[int, list[ProcessUsage]]:
    """Return the processes of containers by the host pid of their pid 1, ordered by pid; empty for a dead pid 1."""
    rooms = {room: pid for pid in inits if (room := _read_namespace(pid))}
    found: dict[int, list[ProcessUsage]] = {pid: [] for pid in inits}
    for name in os.listdir("/proc"):
        if name.isdigit() and (init := rooms.get(_read_namespace(int(name)))) and (usage := _read_usage(int(name))):
            found[init].append(usage)
    return {pid: _link_parents(processes) for pid, processes in found.items()}


def _link_parents(processes: list[ProcessUsage]) -> list[ProcessUsage]:
    """Replace the parents' host pids by those in the container."""
    inside = {each.host_pid: each.pid for each in processes}
    return sorted(each._replace(parent=inside.get(each.parent, 0)) for each in processes)


def _read_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _read_usage(pid: int) -> ProcessUsage | None:
    """Return a process; None if it has exited."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            head, _, rest = source.read().rpartition(b")")
        facts = rest.split()
        if facts[0] in (b"Z", b"X"):
            return None
        with open(f"/proc/{pid}/status", "rb") as source:
            status = dict(line.split(b":", 1) for line in source)
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            words = source.read(4096).replace(b"\0", b" ").strip()
    except (OSError, ValueError):
        return None
    return ProcessUsage(
        pid=int(status[b"NSpid"].split()[-1]),
        parent=int(facts[_PARENT]),
        host_pid=pid,
        uid=int(status[b"Uid"].split()[0]),
        cpu=(int(facts[_USER_TIME]) + int(facts[_SYSTEM_TIME])) / _TICKS,
        memory=_read_memory(pid, status),
        threads=int(facts[_THREADS]),
        command=_clean(words or b"[" + head.partition(b"(")[2] + b"]"),
    )


def _read_memory(pid: int, status: dict[bytes, bytes]) -> int:
    """Return the proportional set size; the resident one if the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as source:
            for line in source:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * _KILO
    except OSError:
        pass
    return int(status.get(b"VmRSS", b"0 kB").split()[0]) * _KILO


def _clean(command: bytes) -> str:
    """Return a command line without control characters: a container may have written them for the terminal."""
    return "".join(each if each.isprintable() else "?" for each in command.decode(errors="replace"))
