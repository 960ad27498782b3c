"""Bounds of rates and of harm, compared with closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.gray import e_values
from devbox.gray.e_values import Tally

tallies = st.tuples(st.integers(0, 5000), st.floats(0, 1)).map(lambda t: Tally(requests=t[0], bad=int(t[0] * t[1])))


def test_nothing_is_known_of_a_side_without_requests():
    assert (e_values.bound_below(Tally(), alpha=0.05), e_values.bound_above(Tally(), alpha=0.05)) == (0, 1)


@given(tally=tallies)
def test_the_observed_rate_lies_between_the_bounds(tally: Tally):
    if tally.requests:
        low, high = e_values.bound_below(tally, alpha=0.05), e_values.bound_above(tally, alpha=0.05)
        assert -1e-9 <= low <= tally.rate + 1e-9
        assert tally.rate - 1e-9 <= high <= 1


@given(tally=tallies)
def test_more_certainty_makes_them_wider(tally: Tally):
    assert e_values.bound_above(tally, alpha=0.001) >= e_values.bound_above(tally, alpha=0.05)
    assert e_values.bound_below(tally, alpha=0.001) <= e_values.bound_below(tally, alpha=0.05)


@pytest.mark.parametrize("requests", [100, 1000, 10_000])
def test_without_errors_it_is_the_rule_of_three_with_a_surcharge_for_looking(requests: int):
    exact = 1 - 0.05 ** (1 / requests)  # what one observation would allow
    assert exact < e_values.bound_above(Tally(requests=requests), alpha=0.05) < 2.2 * exact


@pytest.mark.parametrize(("requests", "bad"), [(1000, 10), (1000, 100), (20_000, 200), (20_000, 6000)])
def test_they_are_as_tight_as_a_confidence_sequence_can_be(requests: int, bad: int):
    rate = bad / requests
    error = math.sqrt(rate * (1 - rate) / requests)
    tally = Tally(requests=requests, bad=bad)
    assert e_values.bound_above(tally, alpha=0.05) - rate < 5 * error
    assert rate - e_values.bound_below(tally, alpha=0.05) < 5 * error


def test_an_equal_canary_becomes_harmless_with_data():
    few, many = Tally(requests=200, bad=2), Tally(requests=20_000, bad=200)
    stable = {0: Tally(requests=200_000, bad=2000)}
    assert e_values.bound_harm({0: few}, stable, alpha=0.05) > 0.02
    assert e_values.bound_harm({0: many}, stable, alpha=0.05) < 0.005


def test_a_worse_canary_is_never_reported_as_harmless():
    stable = {0: Tally(requests=100_000, bad=1000)}
    assert e_values.bound_harm({0: Tally(requests=10_000, bad=500)}, stable, alpha=0.05) > 0.04


def test_a_falling_error_rate_with_a_rising_weight_does_not_hide_errors():
    """All of the canary together has 1.9 %, all of stable 4.6 %: but at each step the canary was four points worse."""
    canary = {0: Tally(requests=1000, bad=90), 1: Tally(requests=20_000, bad=1000)}
    stable = {0: Tally(requests=99_000, bad=4950), 1: Tally(requests=20_000, bad=200)}
    assert e_values.bound_harm(canary, stable, alpha=0.05) > 0.04


def test_no_requests_prove_nothing():
    assert e_values.bound_harm({}, {}, alpha=0.05) == 1
    assert e_values.bound_harm({0: Tally()}, {0: Tally(requests=1000)}, alpha=0.05) == 1


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_issue10_gray_all_steps_together_have_half_of_alpha(steps: int, monkeypatch: pytest.MonkeyPatch):
    """Each of n steps had 1/n of it, the first ones more of it before there were n."""
    asked: dict[Tally, float] = {}

    def lower(tally: Tally, *, alpha: float) -> float:
        asked[tally] = max(alpha, asked.get(tally, 0.0))
        return 0.0

    monkeypatch.setattr(e_values, "bound_below", lower)
    stable = {step: Tally(requests=1000 + step) for step in range(steps)}
    for known in range(1, steps + 1):
        e_values.bound_harm({step: Tally(requests=10) for step in range(known)}, stable, alpha=0.05)
    assert sum(asked.values()) <= 0.025
