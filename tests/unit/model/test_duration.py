"""Durations in messages."""

from __future__ import annotations

import pytest

from devbox.model.duration import format_duration

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
