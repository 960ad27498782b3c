"""The containers that really run, according to the kernel, for comparison with `devbox ps`."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from support.machine import Box

from devbox.host.paths import hash_name

_NS_GET_ID = 0x8008B70D
_PATIENCE = 90.0  # restarts pause for up to 30 s; a claim counts if two consecutive observations make it

Claims = dict[tuple[Path, str], tuple[str, int | None]]  # project, container → state, pid


class Lied(AssertionError):
    """`ps` reported a false state."""


def check(box: Box, projects: list[Path]) -> Claims:
    """Compare every project's `ps` with the kernel; return the claims if they are true.

    State that changes meanwhile is read again: only a claim that `ps` repeats can be false.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        before = _claims(box, projects)
        faults = _faults(box, before)
        if not faults:
            return before
        if _claims(box, projects) == before and _faults(box, before) == faults:
            raise Lied("\n".join(faults))
        if time.monotonic() > deadline:
            raise Lied(f"it never came to rest: {faults}")


def _claims(box: Box, projects: list[Path]) -> Claims:
    rows: dict[Path, dict[str, dict[str, Any]]] = {project: box.ps(project) for project in projects}
    return {
        (project, name): (row["state"], row["pid"])
        for project, containers in rows.items()
        for name, row in containers.items()
    }


def _faults(box: Box, claims: Claims) -> list[str]:
    """Sentences about claims that do not hold."""
    faults, rooms = [], set()
    for (project, name), (state, pid) in claims.items():
        if (state == "running") != (pid is not None) and state != "starting":
            faults.append(f"{project} {name} is {state} with pid {pid}")
        elif pid is not None and not _is_init(pid):
            faults.append(f"{project} {name} is {state}, and its pid {pid} is no container's pid 1")
        elif pid is not None:
            rooms.add(link(pid, "pid"))
            faults += _deaf(box, project, name, link(pid, "pid")) if state == "running" else []
    starting = [name for name, (state, pid) in claims.items() if state == "starting" and pid is None]
    strangers = _strangers(box, rooms)
    if len({link(pid, "pid") for pid in strangers}) <= len(starting):  # they may stand, and nobody said so yet
        return faults
    return faults + [f"in a container that no ps shows: {story(pid)}" for pid in sorted(strangers)]


def _deaf(box: Box, project: Path, name: str, room: str) -> list[str]:
    """Whether `exec` ends up where the container's pid 1 lives."""
    done = box.run("exec", name, "--", "readlink", "/proc/self/ns/pid", cwd=project, timeout=60)
    if (done.returncode, done.stdout.decode().strip()) == (0, room):
        return []
    said = (done.stdout + done.stderr).decode(errors="replace")
    return [f"{project} {name} is said to run in {room}, and exec ends with {done.returncode}: {said}"]


def _is_init(pid: int) -> bool:
    """Whether a process lives, as the first of a pid namespace."""
    lines = _read(pid, "status").splitlines()
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    numbers = facts.get("NSpid", "").split()
    return len(numbers) > 1 and numbers[-1] == "1" and facts["State"][0] not in "ZX"


def _is_dying(pid: int) -> bool:
    """Whether a process was killed and waits for its own dead to be reaped: the host's init takes its time."""
    return not _read(pid, "cmdline")


def _strangers(box: Box, rooms: set[str]) -> set[int]:
    """Processes that run in pid namespaces of this box that are none of `rooms`."""
    own = link(os.getpid(), "pid")
    found = set()
    for pid in of_box(box):
        room = link(pid, "pid")
        if room in rooms | {"", own} or _read(pid, "comm").startswith("pasta"):
            continue
        if not _is_dying(pid):
            found.add(pid)
    return found


def of_box(box: Box) -> set[int]:
    """Processes in user namespaces of this box: holders, and whatever runs in containers.

    A holder carries the name of the box's runtime directory; its namespace is known as the box's from then on, as long
    as anything lives in it.
    """
    own, mark, known = link(os.getpid(), "user"), f"/{hash_name(str(box.home))}/", _namespaces(box.home)
    strange = [pid for pid in pids() if link(pid, "user") not in ("", own)]
    inside = {pid: space for pid in strange if (space := identity(f"/proc/{pid}/ns/user"))}
    known &= set(inside.values())
    known |= {space for pid, space in inside.items() if mark in _read(pid, "environ")}
    ids = box.ids()
    return {pid for pid, space in inside.items() if space in known and any(_uid(pid) in each for each in ids)}


@cache
def _namespaces(_home: Path) -> set[str]:
    """The user namespaces that a box is known to have."""
    return set()


def story(pid: int) -> str:
    """A process in a few words."""
    facts = dict(line.split(":", 1) for line in _read(pid, "status").splitlines() if ":" in line)
    told = [f"{name} {facts.get(name, '').strip()}" for name in ("State", "NSpid")]
    parent = facts.get("PPid", "0").strip()
    told.append(f"child of {parent} {_command(parent)!r}")
    return f"pid {pid} {_command(pid)!r} {', '.join(told)} {_read(pid, 'cgroup').splitlines()[:1]}"


def _command(pid: int | str) -> str:
    return _read(int(pid), "cmdline").replace("\0", " ").strip()


def zombies(parent: int) -> list[int]:
    """Dead children that a process has not reaped."""
    children = _read(parent, f"task/{parent}/children").split()
    return [int(child) for child in children if _read(int(child), "stat").rpartition(")")[2].split()[:1] == ["Z"]]


def open_files(pid: int) -> int:
    """The number of open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def link(pid: int, kind: str) -> str:
    """The namespace of a kind that a process lives in; empty when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def identity(path: str) -> str:
    """The id of the namespace at a path of /proc; empty if it no longer exists.

    Kernels before 6.18 tell no ids. Their numbers are given again, at once, to whoever makes the next: other tests.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        told = bytearray(8)
        fcntl.ioctl(fd, _NS_GET_ID, told)
        return f"id {int.from_bytes(told, sys.byteorder)}"
    except OSError:
        return f"number {os.fstat(fd).st_ino}"
    finally:
        os.close(fd)


def pids() -> list[int]:
    """Every process of the host."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _uid(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
