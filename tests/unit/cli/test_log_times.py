"""`logs --since` and `--until` take ages and times, and select before `--tail` counts."""

from __future__ import annotations

import datetime as dt

import pytest

from devbox.cli.log_times import parse_time, select_period
from devbox.errors import UsageError

NOW = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
LINES = [
    ("db", "2026-01-31T10", "a"),
    ("web", "2026-01-31T11", "b"),
    ("db", "2026-01-31T12", "c"),
    ("db", "2026-02", "d"),
]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", ""),
        ("90s", "2026-01-31T11:58:30.000000Z"),
        ("10m", "2026-01-31T11:50:00.000000Z"),
        ("1h30min", "2026-01-31T10:30:00.000000Z"),
        ("2d", "2026-01-29T12:00:00.000000Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31 13:00:00+01:00", "2026-01-31T12:00:00.000000Z"),
    ],
)
def test_ages_and_times(text: str, at: str):
    assert parse_time("--since", text, NOW) == at


def test_a_time_without_a_zone_is_local():
    local = NOW.astimezone().replace(tzinfo=None)
    assert parse_time("--since", local.isoformat(), NOW) == "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize("text", ["soon", "10", "-5m", "5 m", "٥m", "99999999999d", "2026-13-01"])
def test_other_values_are_one_clear_error(text: str):
    with pytest.raises(UsageError, match="invalid value for --until") as caught:
        parse_time("--until", text, NOW)
    assert "--until 10m" in caught.value.remedy


@pytest.mark.parametrize(
    ("period", "texts"),
    [
        ({"since": "2026-01-31T11", "until": "", "tail": None}, "bcd"),
        ({"since": "", "until": "2026-01-31T12", "tail": None}, "abc"),
        ({"since": "", "until": "2026-01-31T12", "tail": 1}, "bc"),
        ({"since": "2026-01-31T12", "until": "2026-01-31T12", "tail": 9}, "c"),
        ({"since": "", "until": "", "tail": 0}, ""),
    ],
)
def test_the_period_is_selected_before_the_last_lines(period: dict, texts: str):
    assert "".join(text for _, _, text in select_period(LINES, **period)) == texts
