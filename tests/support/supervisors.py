"""Kill supervisors of instances, with or without the process that respawns them."""

from __future__ import annotations

import os
import signal

from support import procfs


def respawner(supervisor: int) -> int:
    """The pid of the shell that becomes the next supervisor; 0 without one."""
    for child in procfs.read(supervisor, f"task/{supervisor}/children").decode().split():
        if b"devbox-respawn" in procfs.read(child, "cmdline").split(b"\0"):
            return int(child)
    return 0


def kill_for_good(supervisor: int) -> None:
    """Kill a supervisor and its respawner, so that only the next command starts another."""
    os.kill(supervisor, signal.SIGSTOP)  # it would start another respawner
    if shell := respawner(supervisor):
        os.kill(shell, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
