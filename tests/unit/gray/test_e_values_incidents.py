"""The two e-values of dependent failures, compared with closed forms and by their expectations."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.gray import e_values
from devbox.gray.e_values import (
    ODDS,
    Evidence,
    Tally,
    choose_thresholds,
    choose_window,
    compare_frequency,
    compare_same_time,
    compare_sizes,
    compute_bounds,
    compute_chance,
    compute_log_mean,
    compute_thinning,
    hedge,
)
from devbox.gray.windows import Sums

small = st.integers(0, 9)


@given(failures=small, share=st.floats(0.01, 0.9), usual=st.floats(0, 3))
def test_of_equal_sides_the_expected_e_value_of_a_block_is_at_most_1(failures: int, share: float, usual: float):
    expected = math.fsum(
        math.comb(failures, k)
        * share**k
        * (1 - share) ** (failures - k)
        * math.exp(compute_log_mean(_of_second(k, failures - k, share=share, usual=usual)))
        for k in range(failures + 1)
    )
    assert expected <= 1 + 1e-9


def _of_second(canary: int, stable: int, *, share: float, usual: float) -> tuple[float, ...]:
    found, _ = compare_same_time([[canary]], [stable], replicas=1, share=share, size=2, usual=usual)
    return tuple(found)


@given(failures=small, share=st.floats(0.01, 0.9), usual=st.floats(0, 1))
def test_nor_is_it_more_where_each_of_two_replicas_is_hedged(failures: int, share: float, usual: float):
    total = 0.0
    for one in range(failures + 1):
        for two in range(failures + 1 - one):
            rest = failures - one - two
            ways = math.factorial(failures) / math.factorial(one) / math.factorial(two) / math.factorial(rest)
            found, _ = compare_same_time([[one], [two]], [rest], replicas=2, share=share, size=2, usual=usual)
            total += ways * (share / 2) ** (one + two) * (1 - share) ** rest * math.exp(compute_log_mean(tuple(found)))
    assert total <= 1 + 1e-9


@given(canary=st.integers(0, 1), stable=small)
def test_without_a_burst_it_is_the_likelihood_ratio(canary: int, stable: int):
    found = _of_second(canary, stable, share=0.2, usual=9.0)
    plain = Evidence().add_batch(canary=Tally(requests=200, bad=canary), stable=Tally(requests=800, bad=stable))
    assert found == pytest.approx(plain.ratios)


def test_issue10_7_a_burst_of_stable_hides_no_failures_of_the_canary():
    """What a replica of stable fails in one second is worth as much, however much it is."""
    once, always = (
        compare_same_time([[0, 1, 0, 1], [0, 1, 0, 0]], [stable, 0, 0, 0], replicas=2, share=0.05, size=2, usual=0.03)[
            0
        ]
        for stable in (500, 5000)
    )
    assert compute_log_mean(tuple(once)) > math.log(100)
    assert always == pytest.approx(once, abs=0.01)


def test_a_burst_of_one_replica_is_worth_a_few_failures():
    burst, _ = compare_same_time([[0, 500, 500, 0]], [0, 0, 0, 0], replicas=2, share=0.05, size=1, usual=0.0)
    more, _ = compare_same_time([[0, 9, 9, 0]], [0, 0, 0, 0], replicas=2, share=0.05, size=1, usual=0.0)
    assert burst == pytest.approx(more)
    whole, worst = compare_same_time([[500] * 10], [0] * 10, replicas=2, share=0.05, size=2, usual=0.0)
    assert worst == whole
    assert whole == pytest.approx([3 * max(1.0, math.log(odds) - math.log1p(0.05 * (odds - 1))) for odds in ODDS])


def test_what_is_usual_is_not_bounded_as_a_burst_is():
    few, _ = compare_same_time([[4] * 20], [8] * 20, replicas=1, share=0.2, size=2, usual=0.01)
    usual, _ = compare_same_time([[4] * 20], [8] * 20, replicas=1, share=0.2, size=2, usual=2.0)
    assert usual[0] > few[0]
    assert compute_bounds(0.0, size=2) == (1, 3)
    assert compute_bounds(2.0, size=2) == pytest.approx((3, 3 + math.sqrt(40)))


def test_replicas_without_requests_count_as_ones_without_failures():
    silent = compare_same_time([[1, 0]], [2, 3], replicas=2, share=0.3, size=2, usual=0.1)
    assert silent[0] == pytest.approx(
        compare_same_time([[1, 0], [0, 0]], [2, 3], replicas=2, share=0.3, size=2, usual=0.1)[0]
    )


@given(log=st.floats(-50, 400), part=st.sampled_from([1 / 2, 2 / 3]))
def test_a_hedged_e_value_loses_no_more_than_what_was_staked(log: float, part: float):
    assert math.exp(hedge(log, part=part)) == pytest.approx(1 - part + part * math.exp(log))
    assert hedge(5000.0, part=part) < math.inf


@given(count=st.integers(0, 60), least=st.integers(0, 20), part=st.floats(0.01, 0.99))
def test_the_chance_of_an_incident_is_the_binomial_tail(count: int, least: int, part: float):
    closed = math.fsum(math.comb(count, k) * part**k * (1 - part) ** (count - k) for k in range(least, count + 1))
    assert compute_chance(count, least=least, kept=part) == pytest.approx(closed, abs=1e-9)


def test_large_counts_do_not_underflow():
    assert compute_chance(10_000, least=5000, kept=0.5) == pytest.approx(0.504, abs=0.002)
    assert compute_chance(10_000, least=1, kept=0.5) == 1.0
    assert compute_chance(3, least=2, kept=1.0) == 1.0


@given(counts=st.dictionaries(st.integers(0, 40), st.integers(1, 50), min_size=1), part=st.floats(0.05, 1))
def test_at_most_a_quarter_of_stables_windows_are_incidents(counts: dict[int, int], part: float):
    history = Counter(counts)
    least, _ = choose_thresholds(history, kept=part)
    assert e_values.estimate_incidents(history, least=least, kept=part) <= history.total() / 4
    assert least == 1 or e_values.estimate_incidents(history, least=least - 1, kept=part) > history.total() / 4


@given(hits=st.integers(0, 5), of=st.integers(5, 30), stable=st.integers(0, 9), stable_of=st.integers(10, 300))
def test_more_often_is_a_ratio_of_two_binomials_with_one_mean(hits: int, of: int, stable: int, stable_of: int):
    both = (hits + stable) / (of + stable_of)
    for odds, found in zip(ODDS, compare_frequency(hits, of, stable, stable_of), strict=True):
        if not both:
            assert found == 0
            continue
        low, high = 0.0, 1.0  # the stable probability with the same mean, by bisection
        for _ in range(80):
            p = (low + high) / 2
            q = odds * p / (1 + (odds - 1) * p)
            low, high = (p, high) if of * q + stable_of * p < (of + stable_of) * both else (low, p)
        closed = hits * math.log(q / both) + stable * math.log(p / both)
        closed += (of - hits) * math.log((1 - q) / (1 - both)) + (stable_of - stable) * math.log((1 - p) / (1 - both))
        assert found == pytest.approx(closed, abs=1e-6)


@pytest.mark.parametrize(
    "counts", [(0, 10, 0, 100), (3, 0, 2, 10), (3, 10, 0, 0), (10, 10, 20, 20)], ids=["none", "new", "alone", "all"]
)
def test_without_a_contrast_there_is_no_evidence(counts: tuple[int, int, int, int]):
    assert compare_frequency(*counts) == [0.0] * len(ODDS)


def test_incidents_speak_against_a_canary_only_beyond_those_of_before():
    assert compute_log_mean(tuple(compare_frequency(4, 30, 2, 600))) > math.log(100)
    assert compute_log_mean(tuple(compare_frequency(4, 30, 80, 600))) < 1


def test_large_incidents_speak_against_a_canary_but_small_ones_hardly_for_it():
    larger_ones, as_large = (compute_log_mean(tuple(compare_sizes(hits, 10, 15, 60))) for hits in (10, 2))
    assert larger_ones > math.log(20)
    assert as_large >= -math.log(2)


@given(counts=st.dictionaries(st.integers(0, 40), st.integers(1, 50), min_size=1), part=st.floats(0.05, 1))
def test_a_large_incident_has_more_failures_than_an_incident_and_at_most_four_times_as_many(
    counts: dict[int, int], part: float
):
    history = Counter(counts)
    least, large = choose_thresholds(history, kept=part)
    assert least < large <= 4 * least
    incident, above = (e_values.estimate_incidents(history, least=each, kept=part) for each in (least, large))
    assert above <= incident / 2 * (1 + 1e-5) or large == 4 * least


def test_the_state_of_an_earlier_devbox_has_one_size_of_incidents():
    found = Sums(leasts=(1,), hits=(4.0,), of=30, stable_hits=(2.0,), stable_of=600)
    assert found.second == pytest.approx(compare_frequency(4, 30, 2, 600))


def test_every_kind_of_replica_is_thinned_to_the_least_busy_one():
    assert compute_thinning(0.05, canaries=2, stables=2) == pytest.approx((1.0, 0.05 / 0.95, 0.05))
    mine, beside, before = compute_thinning(0.5, canaries=1, stables=3)
    assert (mine, beside, before) == pytest.approx((1 / 3, 1.0, 0.5))
    assert compute_thinning(1.0, canaries=1, stables=2) == pytest.approx((0.5, 0.0, 1.0))


def test_a_window_holds_a_burst_twice_over():
    assert [choose_window(longest) for longest in (0, 1, 2, 3, 4, 5, 6, 10, 11)] == [0, 0, 1, 1, 2, 2, 3, 3, None]


@pytest.mark.parametrize(("count", "part"), [(300, 0.95), (320, 0.91), (330, 0.9)])
def test_issue10_7_a_chance_is_not_1_where_its_first_term_is_too_small_for_a_number(count: int, part: float):
    assert compute_chance(count, least=count, kept=part) == pytest.approx(part**count, abs=0.05)
    assert compute_chance(count, least=1, kept=part) == 1.0
    mean = round(count * part)
    exact = math.fsum(math.comb(count, k) * part**k * (1 - part) ** (count - k) for k in range(mean, count + 1))
    assert compute_chance(count, least=mean, kept=part) == pytest.approx(exact, abs=0.05)
