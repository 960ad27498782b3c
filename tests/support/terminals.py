"""Terminals for pexpect whose size is set before the program starts."""

from __future__ import annotations

import termios
from typing import Any


def sized(rows: int, columns: int) -> dict[str, Any]:
    """Arguments of `pexpect.spawn`, whose `dimensions` alone are set only once the program runs."""
    return {
        "dimensions": (rows, columns),
        "preexec_fn": lambda: termios.tcsetwinsize(0, (rows, columns)),
    }
