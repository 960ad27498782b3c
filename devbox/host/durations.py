"""How long something takes, for a person."""

from __future__ import annotations

_EXACT_BELOW = 10.0
_MINUTE = 60.0
_HOUR = 3600.0


def shown(seconds: float) -> str:
    """`0.04 s`, `41.2 s`, `2 min 05 s`, `3 h 07 min`."""
    if seconds < _EXACT_BELOW:
        return f"{seconds:.2f} s"
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    if seconds < _HOUR - 0.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {minutes:02d} min"
