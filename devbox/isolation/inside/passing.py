"""Signals on their way to a command: what this process is sent, its child gets. Light: part of `devbox exec`."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # C half; `signal` itself builds enums for 4 ms
import os

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)

# Python ignores these, and what is ignored stays so in a program it starts.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def restore_ignored() -> None:
    """In a forked child, before it becomes another program."""
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)


class PassedOn:
    """While it lasts, a child gets what this process is sent; the terminal sends its own signals to both."""

    def __init__(self) -> None:
        self._pid = 0
        self._before: dict[int, object] = {}

    def to(self, pid: int) -> None:
        """Begin: `pid` is a child of this process."""
        self._pid = pid
        self._before = {number: signal.signal(number, self._pass_on) for number in _PASSED_ON}

    def end(self) -> None:
        """The child has ended: signals mean this process again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, _frame: object) -> None:
        if number in _FROM_TERMINAL and _in_foreground():
            return
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            return


def _in_foreground() -> bool:
    for stream in range(3):
        try:
            return os.tcgetpgrp(stream) == os.getpgrp()
        except OSError:
            continue
    return False
