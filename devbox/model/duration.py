"""Durations in messages."""

from __future__ import annotations

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def format_duration(seconds: float) -> str:
    """Format a duration in at most two units, rounded down: `45 s`, `2 min 3 s`, `1 h 30 min`, `3 d`."""
    rest, parts = int(seconds), []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        if parts and (len(parts) == 2 or not count):  # noqa: PLR2004 - at most two units
            break
    return " ".join(parts) or "0 s"


_EXACT_BELOW = 10.0
_MINUTE = 60.0
_HOUR = 3600.0


def format_elapsed(seconds: float) -> str:
    """Format an elapsed time: `0.04 s`, `41.2 s`, `2 min 05 s`, `3 h 07 min`."""
    if seconds < _EXACT_BELOW:
        return f"{seconds:.2f} s"
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    if seconds < _HOUR - 0.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {minutes:02d} min"
