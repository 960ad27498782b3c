"""The programs that this process has started and that still run."""

from __future__ import annotations

import contextlib
import os
import signal
import time

_PATIENCE = 2.0
_STEP = 0.02


def end() -> None:
    """Interrupt them all, as Ctrl-C does; terminate those that do not heed it in two seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        for pid in _running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _PATIENCE
        while _running() and time.monotonic() < deadline:
            time.sleep(_STEP)


def _running() -> list[int]:
    """Children of every thread that are not dead."""
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children", encoding="ascii") as listed:
            found += map(int, listed.read().split())
    return [pid for pid in found if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
