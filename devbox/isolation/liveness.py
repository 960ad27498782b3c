"""Liveness of processes, identified by pid and start time. Light: the no-op check and `ps` use it."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.isolation.types import ProcessRef

_STATE, _FLAGS, _START_TIME = 0, 6, 19  # fields of /proc/PID/stat after the name
_EXITING = 0x4  # PF_EXITING of the kernel's flags


def identify(pid: int) -> ProcessRef | None:
    """Return the process with this pid; None if there is none or only a zombie."""
    from devbox.isolation.types import ProcessRef

    facts = _read_stat(pid)
    return None if facts is None or facts[_STATE] in "ZX" else ProcessRef(pid, int(facts[_START_TIME]))


def is_alive(process: ProcessRef) -> bool:
    """Return whether exactly this process still runs."""
    return identify(process.pid) == process


def is_process_usable(process: ProcessRef) -> bool:
    """Return whether the process runs and is not exiting.

    A killed pid 1 of a container stays alive until all processes in its pid namespace are reaped, which may take
    seconds; nothing can enter the container meanwhile.
    """
    return is_usable(process.pid, process.start_time)


def is_usable(pid: int, start_time: int) -> bool:
    """Return `is_process_usable` of a process given by its two numbers."""
    facts = _read_stat(pid)
    if facts is None or facts[_STATE] in "ZX" or int(facts[_START_TIME]) != start_time:
        return False
    return not int(facts[_FLAGS]) & _EXITING


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd; None if the process is gone, including when a thread has reused the number."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):  # for a thread, on older and newer kernels
            return None
        raise


def _read_stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
