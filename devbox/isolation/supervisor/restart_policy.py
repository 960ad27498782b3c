"""How processes end, and what follows: exit codes, reasons for a person, when to start again."""

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

_SIGNALLED = 128  # added to a signal's number where an exit code is wanted
_INIT_FAILED = "failed to exec pid1: "  # catatonit
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
STABLE = 10.0  # seconds; what ran this long is no longer crashing, and starts afresh with the first delay


def decode_wait_status(status: int | None) -> int | None:
    """A wait status as a shell would say it: 128+n for signals; None stays unknown."""
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return _SIGNALLED - code if code < 0 else code


def describe_exit(code: int | None) -> str:
    """Why a process ended, in a few words; nothing for success."""
    if code is None:
        return "its exit code is not known: it was not this supervisor's child"
    if code == 0:
        return ""
    if code == NOT_EXECUTABLE:
        return "its command is not executable"
    if code == NOT_FOUND:
        return "its command was not found"
    if code > _SIGNALLED:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(code - _SIGNALLED).name}"
    return f"exit code {code}"


def explain_init_errors(lines: list[str]) -> list[str]:
    """A container's last lines: what its init says about a command that it can't run in words, repetitions once."""
    told: list[str] = []
    for line in lines:
        _, found, why = line.partition(_INIT_FAILED)
        text = f"its command could not be started: {why}" if found else line
        if text not in told[-1:]:
            told.append(text)
    return told


def needs_restart(policy: str, code: int | None) -> bool:
    """Whether a service that ended by itself is started again. An unknown code counts as a failure."""
    return policy == "always" or (policy == "on-failure" and code != 0)


class Backoff:
    """Delays that double with each crash and begin anew after a stable while."""

    def __init__(self) -> None:
        self._delay = _FIRST_DELAY
        self._started = 0.0
        self.crashes = 0  # since the last stable while

    def mark_started(self) -> None:
        """The process runs now."""
        self._started = time.monotonic()

    def record_crash(self) -> float:
        """Count a crash; seconds to wait before the next start."""
        if time.monotonic() - self._started >= STABLE:
            self._delay = _FIRST_DELAY
            self.crashes = 0
        self.crashes += 1
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_DELAY)
        return delay


_LOOK = 30.0  # seconds between two looks at the clock


class Schedule:
    """The times of one container, after five cron fields; at most one of them is waited for."""

    def __init__(self, loop: Loop, fields: str) -> None:
        self._loop = loop
        self._fields = fields
        self._timer: Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it is going to call."""
        return self._timer is not None

    def wait(self, due: Callback) -> str:
        """Call at the next time, once; the time in words. What was waited for before is forgotten."""
        from cronsim import CronSim

        self.cancel()
        at = next(CronSim(self._fields, datetime.now(UTC)))
        self._check_time(at.timestamp(), due)
        return f"{at:%Y-%m-%d %H:%M} UTC"

    def cancel(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_time(self, at: float, due: Callback) -> None:
        left = at - time.time()
        if left <= 0:
            self._timer = None
            due()
        else:
            self._timer = self._loop.call_later(min(left, _LOOK), lambda: self._check_time(at, due))


_KILLED = 128 + signal.SIGKILL
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class OomMonitor:
    """Watches one container, by the count of the kernel."""

    def __init__(self, context: InstanceContext, container: Launch) -> None:
        self._group = context.group
        self._name = container.name
        self._limit = container.confine.memory
        self._seen = 0

    def reset(self) -> None:
        """The container is a new one, whose count begins at nothing."""
        self._seen = 0

    def explain_exit(self, code: int | None) -> str:
        """Why a process ended with this code: as `endings.describe`, and that memory was the reason where it was.

        A kill is told of once. Where the process itself was not killed, one that it had started was.
        """
        plain = describe_exit(code)
        kills = cgroups.count_oom_kills(self._group, self._name) if self._group else 0
        before, self._seen = self._seen, kills
        if kills <= before or not plain:
            return plain
        cause = f"out of memory ({f'limit {format_size(self._limit)}' if self._limit else 'of the whole machine'})"
        return cause if code == _KILLED else f"{plain}, after a process of it was killed: {cause}"


def format_size(size: int) -> str:
    """A limit as it is written in a file: `64 MiB`."""
    unit, name = next(((unit, name) for unit, name in _UNITS if size % unit == 0), (1, "bytes"))
    return f"{size // unit} {name}"
