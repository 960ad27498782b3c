"""A one-shot container in the namespaces of a running one: it sees that one's processes and sockets."""

from __future__ import annotations

import os
from collections.abc import Callable

from devbox.isolation import launch
from devbox.isolation.supervision import strays
from devbox.isolation.types import Context, Launch

_MARK = "DEVBOX_JOINED"


def run_joined(context: Context, container: Launch, *, on_start: Callable[[int], None] | None = None) -> int:
    """Run a container that `joins` another on this process's own streams to its end; its exit code.

    Its processes are the other's neighbours and would outlive it there: those that are left are killed. It has no
    control group of its own. `launch.delete` is the caller's to call.
    """
    mark = f"{_MARK}={os.urandom(16).hex()}"
    process = container.process._replace(env=(*container.process.env, mark))
    try:
        return launch.run_bare(
            context._replace(cgroups="none"),
            container._replace(init=False, process=process),
            streams=(0, 1, 2),
            on_start=on_start,
        )
    finally:
        strays.end(_marked(mark.encode()))


def _marked(mark: bytes) -> list[int]:
    """The processes that have this in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as source:
                    if mark in source.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                continue  # it has ended, or is somebody else's
    return found
