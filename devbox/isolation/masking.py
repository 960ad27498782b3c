"""Values that may stand in no log and no message. Pure, and light: supervisors and the hot path load it."""

from __future__ import annotations

MASK = "***"
_SHORTEST = 4  # a shorter one would blot out half of every line, and is no secret anyway


class Mask:
    """Takes values out of what is to be written down, a line at a time. A value of several lines goes line by line."""

    def __init__(self, values: tuple[str, ...] = ()) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        # The longest first: one value may be part of another.
        self._hidden = tuple(sorted((line for line in lines if len(line) >= _SHORTEST), key=len, reverse=True))
        self._encoded = tuple(line.encode(errors="surrogateescape") for line in self._hidden)

    def text(self, line: str) -> str:
        """The line without the values."""
        for value in self._hidden:
            line = line.replace(value, MASK)
        return line

    def line(self, line: bytes) -> bytes:
        """The line without the values."""
        for value in self._encoded:
            if value in line:
                line = line.replace(value, MASK.encode())
        return line
