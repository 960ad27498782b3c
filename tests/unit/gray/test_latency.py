"""Response times in blocks of two seconds: the evidence for one limit and for several."""

from __future__ import annotations

import math
import random

import pytest

from devbox.gray import latency
from devbox.gray.comparison import Comparison
from devbox.gray.latency import LIMITS, NO_EVIDENCE, LatencyLimits
from devbox.model.traffic import TIMES, Side

EVEN = Side(times=(1,) * (len(TIMES) + 1))


def limits() -> LatencyLimits:
    return LatencyLimits.from_history(EVEN, quantile=0.99)


def test_issue10_9_times_that_are_all_longer_say_more_together_than_at_each_limit():
    """Shares above 50, 25 and 10 % that are each a little higher."""
    found = latency.compare((100, 56, 31, 14), (100, 50, 25, 10), limits())
    strengths = len(NO_EVIDENCE) // (len(LIMITS) + 1)
    by_limit, together = found[: len(LIMITS) * strengths], found[len(LIMITS) * strengths :]
    assert together[0] > 1.1 * max(by_limit[::strengths]), "at the smallest strength, which decides between close ones"


@pytest.mark.parametrize("many", [1, 4, 30])
def test_of_equal_sides_the_expected_e_value_of_a_block_is_1(many: int):
    """Less what is tolerated: a bit less than 1."""
    rng, exact = random.Random(many), limits()
    total, gray_store = 0.0, 4000
    for _ in range(gray_store):
        mine, other = (
            exact.count_above(
                [sum(at == drawn for drawn in rng.choices(range(len(TIMES) + 1), k=many)) for at in range(46)]
            )
            for _ in range(2)
        )
        total += math.exp(latency.compute_log(latency.compare(mine, other, exact)))
    assert 0.7 < total / gray_store < 1.01


@pytest.mark.parametrize("many", [1, 2, 5, 10])
@pytest.mark.parametrize("above", [0.6, 0.8, 0.9, 0.95])
def test_issue10_9_few_requests_of_a_canary_are_no_evidence_where_both_sides_are_slow(many: int, above: float):
    """Most of them exceed a limit by chance: a gain in nearly each block, for a loss that is bounded."""
    other, total = 10_000, 0.0
    for slow in range(many + 1):
        stable = round(above * other)
        chance = math.comb(many, slow) * above**slow * (1 - above) ** (many - slow)
        found = latency.compare((many, *(slow,) * 3), (other, *(stable,) * 3), limits())
        total += chance * math.exp(latency.compute_log(found))
    assert total < 1.01


def test_the_weights_are_those_of_a_mean():
    assert latency.compute_log(NO_EVIDENCE) == pytest.approx(0)


def test_one_block_is_worth_a_factor_of_2_at_most():
    found = latency.compare((10_000, 10_000, 10_000, 10_000), (10_000, 0, 0, 0), limits())
    assert math.exp(latency.compute_log(found)) < 2


def test_without_requests_of_both_sides_a_block_says_nothing():
    assert latency.compare((0, 0, 0, 0), (9, 5, 2, 1), limits()) == NO_EVIDENCE
    assert latency.compare((9, 5, 2, 1), (0, 0, 0, 0), limits()) == NO_EVIDENCE


def test_what_an_earlier_devbox_has_compared_by_limits_counts_on():
    """The state of a release that began before this version has no logarithms of the number of limits."""
    before = (7.0,) * (len(LIMITS) * 4)
    seen = Comparison(spread=before)
    assert latency.pad_logs(before)[: len(before)] == before
    assert latency.pad_logs(NO_EVIDENCE) == NO_EVIDENCE
    assert seen.compute_spread_evidence() == pytest.approx(math.log(0.5 * math.exp(7.0) + 0.5))
