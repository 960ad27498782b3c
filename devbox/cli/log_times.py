"""`logs --since` and `--until`: a period of time, and the lines in it."""

from __future__ import annotations

import datetime as dt
import re
from collections import deque

from devbox.errors import UsageError
from devbox.isolation.logs import format_timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devbox.isolation.logs import Line

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_AGE = re.compile(r"(?:(\d+)(s|min|m|h|d))+", re.ASCII)
_PART = re.compile(r"(\d+)(s|min|m|h|d)", re.ASCII)
_LAST = "9999"  # after every timestamp


def parse_time(flag: str, text: str, now: dt.datetime) -> str:
    """Return the timestamp (see `format_timestamp`) of an age such as `1h30m`, or of a date or time; "" for "".

    A time without a zone is local. Raises UsageError naming `flag`.
    """
    if not text:
        return ""
    try:
        if _AGE.fullmatch(text):
            seconds = sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text))
            return format_timestamp((now - dt.timedelta(seconds=seconds)).timestamp())
        return format_timestamp(dt.datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f'invalid value for {flag}: expected an age or a time, got "{text}"',
            remedy=f"{flag} 10m, {flag} 2h, or {flag} {now.astimezone().isoformat(timespec='seconds')}",
        ) from None


def select_period(lines: Iterable[Line], *, since: str, until: str, tail: int | None) -> Iterator[Line]:
    """Yield the lines from `since` to `until`, both timestamps or ""; `tail`: only the last N of each container."""
    found = (line for line in lines if since <= line[1] <= (until or _LAST))
    if tail is None:
        yield from found
        return
    last: dict[str, deque[Line]] = {}
    for line in found:
        last.setdefault(line[0], deque(maxlen=tail)).append(line)
    yield from sorted((line for each in last.values() for line in each), key=lambda line: line[1])
