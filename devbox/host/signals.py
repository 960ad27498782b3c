"""Names of signals as images and env files write them, and their numbers: "TERM", "SIGTERM", "15", "SIGRTMIN+3"."""

from __future__ import annotations

import signal

# Real-time signals as Docker counts them: the C library keeps the two before the first for itself.
_FIRST, _MIDDLE, _LAST = 34, 49, 64
_NUMBERS = {
    **{name.removeprefix("SIG"): int(value) for name, value in signal.Signals.__members__.items()},
    **{f"RTMIN+{value - _FIRST}": value for value in range(_FIRST + 1, _MIDDLE + 1)},
    **{f"RTMAX-{_LAST - value}": value for value in range(_MIDDLE + 1, _LAST)},
    "RTMIN": _FIRST,
    "RTMAX": _LAST,
}
_NAMES = {value: name for name, value in reversed(_NUMBERS.items())}


def find_number(name: str) -> int | None:
    """The number of a signal; None for what is none."""
    text = name.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit():
        value = int(text[:3])
        return value if value in _NAMES else None
    return _NUMBERS.get(text)


def find_name(value: int) -> str:
    """The name of a signal, without SIG."""
    return _NAMES[value]
