"""Signal names in images and env files, and their numbers: "TERM", "SIGTERM", "15", "SIGRTMIN+3"."""

from __future__ import annotations

import signal

# Real-time signals as Docker counts them: the C library reserves the two before the first.
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
    """Return the number of a signal; None if invalid."""
    text = name.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit():
        value = int(text[:3])
        return value if value in _NAMES else None
    return _NUMBERS.get(text)


def find_name(value: int) -> str:
    """Return the name of a signal, without SIG."""
    return _NAMES[value]
