"""Process exits and restarts: exit codes, reasons for users, backoff, schedules."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import UTC, datetime

from devbox.errors import NOT_EXECUTABLE, NOT_FOUND
from devbox.isolation import cgroups
from devbox.isolation.supervisor.loop import Callback, Loop, Timer
from devbox.isolation.types import InstanceContext, Launch

_SIGNALLED = 128  # added to a signal's number in an exit code
_INIT_FAILED = "failed to exec pid1: "  # catatonit
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
STABLE = 10.0  # seconds; a process that ran this long is stable, and its backoff is reset


def decode_wait_status(status: int | None) -> int | None:
    """Return the exit code of a wait status as in a shell: 128+n for signals; None stays unknown."""
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return _SIGNALLED - code if code < 0 else code


def describe_exit(code: int | None) -> str:
    """Describe a process's exit briefly; "" for success."""
    if code is None:
        return "exit code unknown: not a child of this supervisor"
    if code == 0:
        return ""
    if code == NOT_EXECUTABLE:
        return "command not executable"
    if code == NOT_FOUND:
        return "command not found"
    if code > _SIGNALLED:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(code - _SIGNALLED).name}"
    return f"exit code {code}"


def explain_init_errors(lines: list[str]) -> list[str]:
    """Return a container's last lines with the init's exec errors explained and repetitions removed."""
    texts: list[str] = []
    for line in lines:
        _, found, why = line.partition(_INIT_FAILED)
        text = f"cannot start the command: {why}" if found else line
        if text not in texts[-1:]:
            texts.append(text)
    return texts


def needs_restart(policy: str, code: int | None) -> bool:
    """Return whether a service that exited on its own is restarted. An unknown exit code counts as a failure."""
    return policy == "always" or (policy == "on-failure" and code != 0)


class Backoff:
    """Exponential backoff, reset after a stable period."""

    def __init__(self) -> None:
        self._delay = _FIRST_DELAY
        self._started = 0.0
        self.crashes = 0  # since the last stable period

    def mark_started(self) -> None:
        """Record the start of the process."""
        self._started = time.monotonic()

    def record_crash(self) -> float:
        """Count a crash; return the seconds to wait before the next start."""
        if time.monotonic() - self._started >= STABLE:
            self._delay = _FIRST_DELAY
            self.crashes = 0
        self.crashes += 1
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_DELAY)
        return delay


_CHECK_INTERVAL = 30.0  # seconds between two checks of the clock


class Schedule:
    """The schedule of one container by five cron fields; at most one time is pending."""

    def __init__(self, loop: Loop, fields: str) -> None:
        self._loop = loop
        self._fields = fields
        self._timer: Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a call is pending."""
        return self._timer is not None

    def wait(self, due: Callback) -> str:
        """Call once at the next time and return that time as text. Replaces a pending call."""
        from cronsim import CronSim

        self.cancel()
        at = next(CronSim(self._fields, datetime.now(UTC)))
        self._check_time(at.timestamp(), due)
        return f"{at:%Y-%m-%d %H:%M} UTC"

    def cancel(self) -> None:
        """Cancel the pending call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_time(self, at: float, due: Callback) -> None:
        left = at - time.time()
        if left <= 0:
            self._timer = None
            due()
        else:
            self._timer = self._loop.call_later(min(left, _CHECK_INTERVAL), lambda: self._check_time(at, due))


_KILLED = 128 + signal.SIGKILL
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class OomMonitor:
    """Detects OOM kills in one container by the kernel's counter."""

    def __init__(self, context: InstanceContext, container: Launch) -> None:
        self._group = context.group
        self._name = container.name
        self._limit = container.confine.memory
        self._seen = 0

    def reset(self) -> None:
        """Reset the counter for a new container."""
        self._seen = 0

    def explain_exit(self, code: int | None) -> str:
        """Describe an exit as `describe_exit` does, including an OOM kill.

        A kill is reported once. If the process itself was not killed, a child of it was.
        """
        plain = describe_exit(code)
        kills = cgroups.count_oom_kills(self._group, self._name) if self._group else 0
        before, self._seen = self._seen, kills
        if kills <= before or not plain:
            return plain
        return explain_oom_kill(code, limit=self._limit)


def explain_oom_kill(code: int | None, *, limit: int | None) -> str:
    """Describe an exit after an OOM kill of the process or a child. `limit`: in bytes; None or 0: that of the host."""
    cause = f"out of memory ({f'limit {format_size(limit)}' if limit else 'of the host'})"
    return cause if code == _KILLED else f"{describe_exit(code)}, after one of its processes was killed: {cause}"


def format_size(size: int) -> str:
    """Format a limit as in an env file: `64 MiB`."""
    unit, name = next(((unit, name) for unit, name in _UNITS if size % unit == 0), (1, "bytes"))
    return f"{size // unit} {name}"
