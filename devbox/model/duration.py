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
        if parts and (len(parts) == 2 or not count):  # noqa: PLR2004 - a third unit says nothing
            break
    return " ".join(parts) or "0 s"
