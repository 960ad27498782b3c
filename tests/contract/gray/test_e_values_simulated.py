"""The judge on hundreds of simulated rollouts: few false aborts, fast detection."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from gray.simulated import detected_after, drawn, drifting

from devbox.gray import e_values
from devbox.gray.e_values import Tally


def false_alarms(rollouts: int, seed: int) -> int:
    rng = random.Random(seed)
    return sum(detected_after(rng, stable=drifting, canary=drifting) is not None for _ in range(rollouts))


def test_an_equal_release_is_rarely_accused_though_its_base_rate_drifts_and_its_share_grows():
    assert false_alarms(300, seed=7) <= 3


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_1000_equal_releases_at_most_one_in_a_hundred_is_accused(seed: int):
    assert false_alarms(1000, seed) <= 10


# Median requests of both sides, as another simulation had them before this one was written.
@pytest.mark.parametrize(
    ("base", "bad", "median"),
    [(0.01, 1.0, 300), (0.01, 0.30, 900), (0.01, 0.10, 3200), (0.01, 0.05, 5000), (0.01, 0.03, 8900), (0, 0.01, 6200)],
)
def test_a_worse_release_is_found_within_the_known_medians(base: float, bad: float, median: int):
    rng = random.Random(11)
    found = [detected_after(rng, stable=lambda _: base, canary=lambda _: bad) for _ in range(200)]
    assert None not in found
    assert statistics.median(total for total in found if total) <= median


def test_a_release_twice_as_bad_is_mostly_found():
    rng = random.Random(13)
    found = [detected_after(rng, stable=lambda _: 0.01, canary=lambda _: 0.02) for _ in range(100)]
    assert found.count(None) <= 29


def test_bounds_of_a_rate_hold_at_every_observation():
    rng, wrong = random.Random(17), 0
    for _ in range(100):
        seen, mean = Tally(), 0.0
        missed = False
        for look in range(30):
            rate = 0.03 * (1 + 0.8 * math.sin(look / 9))
            seen, mean = seen + Tally(requests=50, bad=drawn(rng, 50, rate)), mean + rate
            truth = mean / (look + 1)
            missed |= not e_values.bound_below(seen, alpha=0.05) <= truth <= e_values.bound_above(seen, alpha=0.05)
        wrong += missed
    assert wrong <= 10  # 0.05 at each end
