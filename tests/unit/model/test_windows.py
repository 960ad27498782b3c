"""Time windows: closing and opening times in a time zone, also on days of 23 and 25 hours."""

from __future__ import annotations

import datetime as dt

import pytest

from devbox.model import windows

BERLIN, NEW_YORK, UTC = (windows.load_zone(name) for name in ("Europe/Berlin", "America/New_York", "UTC"))
WEEKEND = "Fri 16:00 - Mon 08:00"


def _at(text, location=UTC, fold=0):
    return dt.datetime.fromisoformat(text).replace(tzinfo=location, fold=fold)


def _closed(text, at, location=UTC):
    return windows.find_closed_window([windows.parse(text)], at, location) is not None


def _opens(texts, at, location=UTC):
    found = windows.find_opening([windows.parse(text) for text in texts], at, location)
    return found.astimezone(location).strftime("%a %d %H:%M %z") if found else None


@pytest.mark.parametrize(
    ("window", "at", "closed"),
    [
        (WEEKEND, "2026-11-27 15:59:59", False),  # a Friday
        (WEEKEND, "2026-11-27 16:00", True),
        (WEEKEND, "2026-11-28 12:00", True),
        (WEEKEND, "2026-11-30 07:59", True),
        (WEEKEND, "2026-11-30 08:00", False),
        ("Mon 09:00 - Mon 17:00", "2026-11-30 12:00", True),
        ("Mon 09:00 - Mon 17:00", "2026-12-01 12:00", False),
        ("Mon 09:00 - Mon 08:00", "2026-12-06 12:00", True),  # all week but an hour
        ("Mon 09:00 - Mon 08:00", "2026-11-30 08:30", False),
        ("22:00 - 06:00", "2026-11-27 23:00", True),
        ("22:00 - 06:00", "2026-11-27 05:59", True),
        ("22:00 - 06:00", "2026-11-27 06:00", False),
        ("22:00-06:00", "2026-11-27 23:00", True),
        ("12:00 – 13:00", "2026-11-27 12:30", True),
        ("friday 16:00 - monday 8:00", "2026-11-28 12:00", True),
        ("2026-12-24 18:00 - 2027-01-02 08:00", "2026-12-31 12:00", True),
        ("2026-12-24 18:00 - 2027-01-02 08:00", "2027-12-31 12:00", False),
    ],
)
def test_a_window_is_closed_from_its_first_moment_up_to_its_last(window, at, closed):
    assert _closed(window, _at(at)) is closed


def test_a_window_is_by_the_clocks_of_its_zone():
    at = _at("2026-11-27 15:30")  # 16:30 in Berlin
    assert _closed(WEEKEND, at, BERLIN)
    assert not _closed(WEEKEND, at, NEW_YORK)


def test_it_opens_when_its_zone_says_so():
    assert _opens([WEEKEND], _at("2026-11-28 12:00", BERLIN), BERLIN) == "Mon 30 08:00 +0100"


def test_windows_that_follow_on_each_other_open_with_the_last():
    texts = [WEEKEND, "Mon 07:00 - Mon 10:00", "Mon 10:00 - Mon 11:00"]
    assert _opens(texts, _at("2026-11-28 12:00")) == "Mon 30 11:00 +0000"


def test_out_of_every_window_it_is_open_now():
    now = _at("2026-11-26 12:00")
    assert windows.find_opening([windows.parse(WEEKEND)], now, UTC) == now


def test_what_is_always_closed_never_opens():
    assert _opens(["Mon 00:00 - Mon 00:00"], _at("2026-11-28 12:00")) is None
    assert _opens(["00:00 - 12:00", "12:00 - 00:00"], _at("2026-11-28 12:00")) is None


def test_an_end_in_the_hour_that_spring_leaves_out_is_after_it():
    window, day = "00:00 - 02:30", "2026-03-29"  # 02:00 becomes 03:00
    assert _closed(window, _at(f"{day} 01:59", BERLIN), BERLIN)
    assert _closed(window, _at(f"{day} 03:29", BERLIN), BERLIN)
    assert not _closed(window, _at(f"{day} 03:30", BERLIN), BERLIN)


def test_an_end_in_the_hour_that_autumn_has_twice_is_the_second_one():
    window, day = "00:00 - 02:30", "2026-10-25"  # 03:00 becomes 02:00
    assert _closed(window, _at(f"{day} 02:45", BERLIN, fold=0), BERLIN)
    assert _closed(window, _at(f"{day} 02:29", BERLIN, fold=1), BERLIN)
    assert not _closed(window, _at(f"{day} 02:30", BERLIN, fold=1), BERLIN)


def test_a_beginning_in_the_hour_that_autumn_has_twice_is_the_first_one():
    window, day = "02:30 - 05:00", "2026-10-25"
    assert not _closed(window, _at(f"{day} 02:29", BERLIN, fold=0), BERLIN)
    assert _closed(window, _at(f"{day} 02:30", BERLIN, fold=0), BERLIN)
    assert _closed(window, _at(f"{day} 02:00", BERLIN, fold=1), BERLIN)


def test_a_weekly_window_over_a_change_of_clocks_keeps_to_the_clocks():
    at = _at("2026-03-28 12:00", BERLIN)
    assert _opens([WEEKEND], at, BERLIN) == "Mon 30 08:00 +0200"


@pytest.mark.parametrize(
    "text",
    [
        *("", "Fri 16:00", "Fri 16:00 - 08:00", "Fri - Mon", "25:00 - 26:00", "Xyz 10:00 - Mon 10:00"),
        *("10:00 - 11:00 - 12:00", "2026-02-30 10:00 - 2026-03-01 10:00"),
        *("2026-12-24 18:00 - 2026-12-24 18:00", "2026-12-24 18:00 - 2025-12-24 18:00"),
    ],
)
def test_an_invalid_window_is_refused(text):
    with pytest.raises(ValueError, match=r"not a time window|before it begins"):
        windows.parse(text)


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "/etc/passwd"])
def test_an_invalid_time_zone_is_refused(name):
    with pytest.raises(ValueError, match="not an IANA time zone"):
        windows.load_zone(name)
