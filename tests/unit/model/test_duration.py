"""Durations in messages."""

from __future__ import annotations

import pytest

from devbox.model.duration import format_duration, format_elapsed

FORMATTED = {
    0: "0 s",
    0.4: "0 s",
    45: "45 s",
    60: "1 min",
    122.2: "2 min 2 s",
    3600: "1 h",
    3605: "1 h",
    5400: "1 h 30 min",
    90061: "1 d 1 h",
    3 * 86400: "3 d",
}


@pytest.mark.parametrize("seconds", FORMATTED)
def test_a_duration_has_at_most_two_units(seconds):
    assert format_duration(seconds) == FORMATTED[seconds]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.042, "0.04 s"),
        (9.99, "9.99 s"),
        (41.23, "41.2 s"),
        (59.99, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.8, "1 h 00 min"),
        (11_220, "3 h 07 min"),
    ],
)
def test_elapsed_time_has_three_digits_and_then_two_units(seconds: float, text: str):
    assert format_elapsed(seconds) == text
