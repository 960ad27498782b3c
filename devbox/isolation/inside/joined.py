"""A one-shot container in the namespaces of a running one: it sees that one's processes and sockets."""

from __future__ import annotations

from collections.abc import Callable

from devbox.isolation import launch
from devbox.isolation.types import Context, Launch


def run_joined(context: Context, container: Launch, *, on_start: Callable[[int], None] | None = None) -> int:
    """Run a container that `joins` another on this process's own streams to its end; its exit code.

    It has no control group of its own. What it leaves among the other's processes is ended by the supervisor, when the
    lease is released or its client has been killed.
    """
    bare = context._replace(cgroups="none")
    return launch.run_bare(bare, container._replace(init=False), streams=(0, 1, 2), on_start=on_start)
