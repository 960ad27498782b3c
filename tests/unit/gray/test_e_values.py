"""The e-process compared with closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.gray.e_values import ODDS, Evidence, Tally, compute_log_mean

small = st.integers(0, 12)


def e_value(evidence: Evidence) -> float:
    return math.exp(evidence.log)


def of(canary: tuple[int, int], stable: tuple[int, int]) -> Evidence:
    return Evidence().add_batch(
        canary=Tally(requests=canary[0], bad=canary[1]), stable=Tally(requests=stable[0], bad=stable[1])
    )


@given(mine=st.integers(1, 400), others=st.integers(1, 400), errors=small)
def test_of_equal_sides_the_expected_e_value_is_1(mine: int, others: int, errors: int):
    share = mine / (mine + others)
    chances = [math.comb(errors, k) * share**k * (1 - share) ** (errors - k) for k in range(errors + 1)]
    # Tallies with more bad ones than requests do not occur, but the mathematics does not mind.
    expected = math.fsum(chance * e_value(of((mine, k), (others, errors - k))) for k, chance in enumerate(chances))
    assert expected == pytest.approx(1)


@given(mine=st.integers(1, 60), others=st.integers(1, 60), data=st.data())
def test_drawn_without_putting_back_it_is_at_most_1(mine: int, others: int, data: st.DataObject):
    errors = data.draw(st.integers(0, mine + others))
    ways = math.comb(mine + others, errors)
    expected = math.fsum(
        math.comb(mine, k) * math.comb(others, errors - k) / ways * e_value(of((mine, k), (others, errors - k)))
        for k in range(max(0, errors - others), min(mine, errors) + 1)
    )
    assert expected <= 1 + 1e-9


@given(canary=small, stable=small)
def test_the_ratio_is_that_of_two_binomials(canary: int, stable: int):
    share = 0.2
    found = of((200, canary), (800, stable))
    for odds, ratio in zip(ODDS, found.ratios, strict=True):
        p = share * odds / (1 - share + share * odds)
        closed = canary * math.log(p / share) + stable * math.log((1 - p) / (1 - share))
        assert ratio == pytest.approx(closed)


@given(parts=st.lists(st.tuples(small, small), min_size=1, max_size=6))
def test_at_one_share_it_does_not_matter_how_batches_are_cut(parts: list[tuple[int, int]]):
    cut = Evidence()
    for canary, stable in parts:
        cut = cut.add_batch(canary=Tally(requests=50, bad=canary), stable=Tally(requests=150, bad=stable))
    n = len(parts)
    whole = of((50 * n, sum(c for c, _ in parts)), (150 * n, sum(s for _, s in parts)))
    assert cut.ratios == pytest.approx(whole.ratios)


@given(canary=small, stable=small)
def test_a_fine_mixture_comes_near_the_beta_binomial(canary: int, stable: int):
    """Over p uniform in 0 … 1 the mean ratio has a closed form: B(c+1, s+1) / (w^c (1-w)^s)."""
    share, points = 0.3, 4000
    logs = []
    for at in range(points):
        p = (at + 0.5) / points
        logs.append(canary * math.log(p / share) + stable * math.log((1 - p) / (1 - share)))
    beta = math.lgamma(canary + 1) + math.lgamma(stable + 1) - math.lgamma(canary + stable + 2)
    closed = beta - canary * math.log(share) - stable * math.log(1 - share)
    assert compute_log_mean(tuple(logs)) == pytest.approx(closed, abs=1e-3)


@pytest.mark.parametrize(
    ("canary", "stable"),
    [((0, 0), (100, 5)), ((100, 5), (0, 0)), ((100, 0), (100, 0))],
    ids=["nobody there", "nobody to compare with", "nothing bad"],
)
def test_without_data_there_is_no_evidence(canary: tuple[int, int], stable: tuple[int, int]):
    assert of(canary, stable) == Evidence()


def test_errors_of_stable_speak_for_the_canary():
    assert of((1000, 0), (1000, 20)).log < of((1000, 0), (1000, 0)).log


def test_a_few_errors_against_a_clean_baseline_are_enough():
    found = Evidence()
    for _ in range(5):  # the case that other judges pass: one error here and there, none at stable
        found = found.add_batch(canary=Tally(requests=5, bad=1), stable=Tally(requests=95, bad=0))
    assert found.is_conclusive(0.01)


def test_large_numbers_do_not_overflow():
    found = of((10**7, 10**6), (10**7, 10))
    assert found.is_conclusive(1e-12)
    assert math.isfinite(found.log)
