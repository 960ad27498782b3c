"""What a process has started, though it may be gone by now: its session, and what descends from that.

An OCI runtime makes what it executes in a container the leader of a session of its own, so that nothing that others
started there, nor the container's own process, is in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

from devbox.isolation.types import ProcessRef

_STATE, _PARENT, _SESSION, _START_TIME = 0, 1, 3, 19  # fields of /proc/PID/stat after the name


class _Seen(NamedTuple):
    process: ProcessRef
    parent: int
    session: int


def left_by(pid: int) -> set[ProcessRef]:
    """What a process that has just ended leaves running: its number must not be anybody else's yet."""
    return _started_by({pid})


def still(processes: Iterable[ProcessRef]) -> set[ProcessRef]:
    """Those of them that run yet, and what they have started."""
    known = set(processes)
    alive = {each.process for each in _look()} & known if known else known
    return alive | _started_by({process.pid for process in alive}) if alive else set()


def send(processes: Iterable[ProcessRef], number: int) -> None:
    """Signal all of them; some may be gone by now."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def kill(pid: int) -> None:
    """Kill a process that was not reaped yet, and all that it has started, also what that starts meanwhile."""
    ended = {pid}
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # what it is starting just now would else be found by nobody
    while found := {each for each in _started_by(ended) if each.pid not in ended}:
        send(found, signal.SIGKILL)
        ended |= {each.pid for each in found}
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _started_by(pids: set[int]) -> set[ProcessRef]:
    """What runs of all that these have started; themselves only where one has started another."""
    seen, known, found = _look(), set(pids), set[ProcessRef]()
    while more := {each for each in seen if each.process not in found and {each.parent, each.session} & known}:
        found |= {each.process for each in more}
        known |= {each.process.pid for each in more}
    return found


def _look() -> list[_Seen]:
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
            seen.append(_Seen(process, int(facts[_PARENT]), int(facts[_SESSION])))
    return seen
