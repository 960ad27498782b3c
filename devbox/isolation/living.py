"""Which process is meant, and whether it lives: by pid and start time. Light: `ps` asks it of every container."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.isolation.types import ProcessRef

_STATE, _FLAGS, _START_TIME = 0, 6, 19  # fields of /proc/PID/stat after the name
_EXITING = 0x4  # PF_EXITING of the kernel's flags


def identify(pid: int) -> ProcessRef | None:
    """The process with this pid now; None when there is none (or only its zombie)."""
    from devbox.isolation.types import ProcessRef

    facts = _facts(pid)
    return None if facts is None or facts[_STATE] in "ZX" else ProcessRef(pid, int(facts[_START_TIME]))


def alive(process: ProcessRef) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process


def usable(process: ProcessRef) -> bool:
    """Whether it is alive and has not begun to end.

    A container's pid 1 that was killed is alive until all in its pid namespace are reaped, which may take seconds;
    nothing can enter meanwhile.
    """
    return is_usable(process.pid, process.start_time)


def is_usable(pid: int, start_time: int) -> bool:
    """`usable`, of a process by its two numbers."""
    facts = _facts(pid)
    if facts is None or facts[_STATE] in "ZX" or int(facts[_START_TIME]) != start_time:
        return False
    return not int(facts[_FLAGS]) & _EXITING


def open_pidfd(pid: int) -> int | None:
    """A descriptor of the process with this pid; None when there is none, as where a thread has that number by now."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):  # of a thread, by older and by newer kernels
            return None
        raise


def _facts(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
