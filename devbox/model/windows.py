"""Time windows in a zone: "Fri 16:00 - Mon 08:00" weekly, "22:00 - 06:00" daily, or between two dates.

A window includes its start and excludes its end, by the clocks of its zone; a clock change within the hour of its start
or end makes it longer.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterable, Iterator

from devbox.model.frozen import dataclass

HELP = 'write "Fri 16:00 - Mon 08:00", "22:00 - 06:00" or "2026-12-24 18:00 - 2026-12-27 08:00"'
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EDGE = re.compile(r"(?:(?:(?P<day>[A-Za-z]{3,9})|(?P<date>\d{4}-\d\d-\d\d)) +)?(?P<time>\d\d?:\d\d)")
_DASH = re.compile(r"\s*–\s*|\s+-\s+|(?<=:\d\d)-")
_AGAIN = 100  # consecutive windows before an opening counts as never


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The start or end of a window: a time of day, of a weekday (0 is Monday), of a date, or of every day."""

    time: dt.time
    day: int | None = None
    date: dt.date | None = None

    @property
    def kind(self) -> str:
        """The recurrence: "once", "daily" or "weekly"."""
        if self.date is not None:
            return "once"
        return "daily" if self.day is None else "weekly"


@dataclass(frozen=True, kw_only=True)
class Window:
    """The period from one edge to the next other one."""

    begins: Edge
    ends: Edge


def parse(text: str) -> Window:
    """Parse a window written by a user; raise ValueError with a message."""
    edges = [_parse_edge(part) for part in _DASH.split(text.strip())]
    begins, ends = edges if len(edges) == len(("begins", "ends")) else (None, None)
    if begins is None or ends is None or begins.kind != ends.kind:
        raise ValueError(f"{text!r} is not a time window; {HELP}")
    if begins.date is not None and ends.date is not None and (begins.date, begins.time) >= (ends.date, ends.time):
        raise ValueError(f"{text!r} ends before it begins")
    return Window(begins=begins, ends=ends)


def load_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the IANA time zone; raise ValueError if unknown on this host."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"{name!r} is not an IANA time zone such as Europe/Berlin") from None


def find_closed_window(windows: Iterable[Window], now: dt.datetime, place: zoneinfo.ZoneInfo) -> Window | None:
    """Return the first of the windows that contain a moment; None if there is none."""
    return next((window for window in windows if _find_end(window, now, place)), None)


def find_opening(windows: Iterable[Window], now: dt.datetime, place: zoneinfo.ZoneInfo) -> dt.datetime | None:
    """Return the end of all windows that contain a moment, including adjacent ones; None for never."""
    every = tuple(windows)
    moment = now
    for _ in range(_AGAIN):
        ends = [end for window in every if (end := _find_end(window, moment, place))]
        if not ends:
            return moment
        moment = max(ends)
    return None


def _find_end(window: Window, now: dt.datetime, place: zoneinfo.ZoneInfo) -> dt.datetime | None:
    """Return the end of the window that contains a moment; None if it does not."""
    ends = [end for begin, end in _list_occurrences(window, now.astimezone(place).date(), place) if begin <= now < end]
    return max(ends, default=None)


def _list_occurrences(
    window: Window, day: dt.date, place: zoneinfo.ZoneInfo
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Yield all occurrences that can overlap a day, as moments."""
    begins, ends = window.begins, window.ends
    if begins.date is not None and ends.date is not None:
        yield _resolve_moments(begins.date, begins.time, ends.date, ends.time, place)
        return
    length = 1 if begins.day is None else len(_DAYS)
    for back in range(length + 1):
        start = day - dt.timedelta(days=back)
        if begins.day is not None and start.weekday() != begins.day:
            continue
        span = 0 if ends.day is None or begins.day is None else (ends.day - begins.day) % len(_DAYS)
        if span == 0 and ends.time <= begins.time:
            span = length
        yield _resolve_moments(start, begins.time, start + dt.timedelta(days=span), ends.time, place)


def _resolve_moments(
    first: dt.date, begins: dt.time, last: dt.date, ends: dt.time, place: zoneinfo.ZoneInfo
) -> tuple[dt.datetime, dt.datetime]:
    return min(_list_readings(first, begins, place)), max(_list_readings(last, ends, place))


def _list_readings(day: dt.date, time: dt.time, place: zoneinfo.ZoneInfo) -> list[dt.datetime]:
    """Return the moments with this clock reading: two when clocks go back, and around the gap when they go forward."""
    local = dt.datetime.combine(day, time, tzinfo=place)
    return [local.replace(fold=fold).astimezone(dt.UTC) for fold in (0, 1)]


def _parse_edge(text: str) -> Edge | None:
    match = _EDGE.fullmatch(text)
    if match is None:
        return None
    hour, _, minute = match["time"].partition(":")
    day = match["day"].lower()[:3] if match["day"] else None
    try:
        time = dt.time(int(hour), int(minute))
        date = dt.date.fromisoformat(match["date"]) if match["date"] else None
        return Edge(time=time, day=_DAYS.index(day) if day else None, date=date)
    except ValueError:
        return None
