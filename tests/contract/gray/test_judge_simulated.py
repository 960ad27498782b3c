"""Rows of docs/explanation/gray-simulation.md with fewer trials: false aborts stay bounded, detection stays as fast."""

from __future__ import annotations

import math

import pytest
from support.machine import lacking

try:
    from gray.simulation import delays, rows
    from gray.simulation.__main__ import simulate
except ImportError:
    lacking("needs numpy: pip install -e .[dev]")

TRIALS = 400


def named(row: rows.Row | delays.Slow) -> str:
    return row.name


def within(bound: float) -> float:
    """Percentage of this many trials that a row with this rate exceeds with probability 0.001."""
    return bound + 3.1 * math.sqrt(bound * (100 - bound) / TRIALS) + 100 / TRIALS


@pytest.mark.parametrize("row", [rows.EQUAL[4], rows.EQUAL[6], rows.EQUAL[12]], ids=named)
def test_issue10_7_few_equal_releases_are_rolled_back(row: rows.Row):
    found = simulate(row, 150, seed=1).aborted
    assert found["devbox"] <= within(row.bound)
    assert found["before"] > 5, "the judge of before did"


@pytest.mark.parametrize(("name", "requests"), [("5 → 10 %", 531), ("1 → 10 %, bursts 1 s per 120 s", 87)])
def test_issue10_7_usual_failures_and_bursts_of_stable_delay_no_decision(name: str, requests: int):
    row = next(each for each in rows.WORSE if each.name == name)
    found = simulate(row, 200, seed=8)
    assert found.aborted["devbox"] >= 99
    assert found.requests <= 1.1 * requests


@pytest.mark.long
@pytest.mark.parametrize("row", [*rows.EQUAL, *(each for each in delays.EQUAL if each.rate < 500)], ids=named)
def test_equal_releases_are_rolled_back_no_more_often_than_allowed(row: rows.Row | delays.Slow):
    assert simulate(row, TRIALS, seed=2).aborted["devbox"] <= within(row.bound)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("1 → 10 %", 73),
        ("1 → 10 %, 20 req/s", 73),
        ("1 → 2 %", 2625),
        ("0 → 1 %", 316),
        ("1 → 10 %, 1,000 clients", 83),
        ("1 → 10 %, 1+1 replicas", 85),
        ("1 → 2 %, 1,000 req/s", 3130),
    ],
)
def test_issue10_7_worse_releases_take_at_most_so_many_requests(name: str, requests: int):
    row = next(each for each in rows.WORSE if each.name == name)
    assert simulate(row, TRIALS, seed=3).requests <= 1.1 * requests


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("+20 %, lognormal 0.5", 95),
        ("+20 %, lognormal 1", 85),
        ("+20 %, Pareto 1.5", 95),
        ("+20 %, lognormal 0.5, 20 req/s", 68),
    ],
)
def test_issue10_9_slower_releases_are_found(name: str, share: float):
    row = next(each for each in delays.WORSE if each.name == name)
    assert simulate(row, TRIALS, seed=4).aborted["devbox"] >= share - 3


@pytest.mark.parametrize(
    "name", ["new replicas fail 20 % for 10 s", "bursts 1 s per 120 s", "cold start: 40 slow requests"]
)
def test_issue10_8_a_baseline_of_new_replicas_takes_few_equal_releases_back(name: str):
    row = fresh(name)
    assert simulate(row, 100, seed=5).aborted["devbox"] <= within(row.bound)


@pytest.mark.long
@pytest.mark.parametrize(
    "row", [row for row in (*rows.FRESH, *delays.FRESH) if row.fresh and row.bound < 100 and row.rate < 500], ids=named
)
def test_issue10_8_with_a_baseline_equal_releases_are_rolled_back_no_more_often_than_allowed(
    row: rows.Row | delays.Slow,
):
    assert simulate(row, TRIALS, seed=6).aborted["devbox"] <= within(row.bound)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["1 → 10 %", "0 → 1 %", "1 → 100 %", "1 → 5 %, old replicas fail 5 %", "+20 %, lognormal 0.5", "×2, lognormal 0.5"],
)
def test_issue10_8_with_a_baseline_worse_releases_are_found(name: str):
    assert simulate(fresh(name), TRIALS, seed=7).aborted["devbox"] >= 97


def fresh(name: str) -> rows.Row | delays.Slow:
    """The row of this name with a baseline."""
    every = (*rows.FRESH, *rows.FRESH_WORSE, *delays.FRESH, *delays.FRESH_WORSE)
    return next(row for row in every if row.name.removeprefix("fails: ") == f"{name}, baseline fresh")
