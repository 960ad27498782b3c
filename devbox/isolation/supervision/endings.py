"""How processes end, and what follows: exit codes, reasons for a person, when to start again."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from devbox.errors import NOT_EXECUTABLE, NOT_FOUND

_SIGNALLED = 128  # added to a signal's number where an exit code is wanted
_INIT_FAILED = "failed to exec pid1: "  # catatonit
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
STABLE = 10.0  # seconds; what ran this long is no longer crashing, and starts afresh with the first delay


def exit_code(status: int | None) -> int | None:
    """A wait status as a shell would say it: 128+n for signals; None stays unknown."""
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return _SIGNALLED - code if code < 0 else code


def describe(code: int | None) -> str:
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


def explained(lines: list[str]) -> list[str]:
    """A container's last lines: what its init says about a command that it can't run in words, repetitions once."""
    told: list[str] = []
    for line in lines:
        _, found, why = line.partition(_INIT_FAILED)
        text = f"its command could not be started: {why}" if found else line
        if text not in told[-1:]:
            told.append(text)
    return told


def wants_restart(policy: str, code: int | None) -> bool:
    """Whether a service that ended by itself is started again. An unknown code counts as a failure."""
    return policy == "always" or (policy == "on-failure" and code != 0)


class Backoff:
    """Delays that double with each crash and begin anew after a stable while."""

    def __init__(self) -> None:
        self._delay = _FIRST_DELAY
        self._started = 0.0
        self.crashes = 0  # since the last stable while

    def started(self) -> None:
        """The process runs now."""
        self._started = time.monotonic()

    def next(self) -> float:
        """Count a crash; seconds to wait before the next start."""
        if time.monotonic() - self._started >= STABLE:
            self._delay = _FIRST_DELAY
            self.crashes = 0
        self.crashes += 1
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_DELAY)
        return delay
