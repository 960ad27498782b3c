"""What the kernel killed in a container for want of memory, in words."""

from __future__ import annotations

import signal

from devbox.isolation import cgroups
from devbox.isolation.supervision import endings
from devbox.isolation.types import Context, Launch

_KILLED = 128 + signal.SIGKILL
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Memory:
    """Watches one container, by the count of the kernel."""

    def __init__(self, context: Context, container: Launch) -> None:
        self._group = context.group
        self._name = container.name
        self._limit = container.confine.memory
        self._seen = 0

    def renew(self) -> None:
        """The container is a new one, whose count begins at nothing."""
        self._seen = 0

    def why(self, code: int | None) -> str:
        """Why a process ended with this code: as `endings.describe`, and that memory was the reason where it was.

        A kill is told of once. Where the process itself was not killed, one that it had started was.
        """
        plain = endings.describe(code)
        kills = cgroups.oom_kills(self._group, self._name) if self._group else 0
        before, self._seen = self._seen, kills
        if kills <= before or not plain:
            return plain
        cause = f"out of memory ({f'limit {shown(self._limit)}' if self._limit else 'of the whole machine'})"
        return cause if code == _KILLED else f"{plain}, after a process of it was killed: {cause}"


def shown(size: int) -> str:
    """A limit as it is written in a file: `64 MiB`."""
    unit, name = next(((unit, name) for unit, name in _UNITS if size % unit == 0), (1, "bytes"))
    return f"{size // unit} {name}"
