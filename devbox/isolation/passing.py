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


def pass_signals_on(pid: int) -> None:
    """From now on give `pid` what this process is sent; the terminal sends its own signals to both."""

    def pass_on(number: int, _frame: object) -> None:
        if number not in _FROM_TERMINAL or not _in_foreground():
            os.kill(pid, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)


def _in_foreground() -> bool:
    for stream in range(3):
        try:
            return os.tcgetpgrp(stream) == os.getpgrp()
        except OSError:
            continue
    return False
