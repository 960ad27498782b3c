"""The judge on dependent failures, cold starts and slower releases, compared with the former judge on the same data."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest
from support.machine import lacking

from devbox.gray import judge
from devbox.gray.policy import Policy
from devbox.gray.state import ABORTING, BAKE, STEP, GrayState
from devbox.gray.windows import TrafficSplit
from devbox.model import codec
from devbox.model.traffic import STABLE, Side

try:
    import numpy as np
except ImportError:
    lacking("needs numpy: pip install -e .[dev]")

from gray.simulation import failures, product, twin
from gray.simulation.decided import (
    BEGAN,
    ERRORS,
    LATENCY,
    Timing,
    decided,
    lognormal,
    pareto,
    policy,
    slower,
    timed,
)
from gray.simulation.rows import Bursts, Row

STEPS = {"steps": (0.2,), "step": 120}


def aborted(row: Row, *, trials: int, seed: int, by_second: bool = True, baking: bool = False) -> int:
    """Count the rollbacks by the product in this many trials."""
    row = replace(row, steps=(1.0,) if baking else (0.2,), step=120, known=300)
    drawn = failures.draw(row, trials, np.random.default_rng(seed))
    rules = policy(0.2, ERRORS)
    return sum(
        _judged(drawn, trial, rules, by_second=by_second, baking=baking).phase == ABORTING for trial in range(trials)
    )


def _judged(drawn: failures.Drawn, trial: int, rules: Policy, *, by_second: bool, baking: bool) -> GrayState:
    row = drawn.row
    past = [each for at in range(row.known) for each in product.seconds(drawn, trial, at)]
    release = (product.seconds(drawn, trial, row.known + at) for at in range(row.seconds))
    return decided(past, release, rules, by_second=by_second, baking=baking)


@pytest.mark.parametrize(
    "row",
    [
        Row(name="retries", base=0.002, retries=5),
        Row(name="broken clients", clients=200, broken=0.02),
        Row(name="bursts", bursts=Bursts(period=60)),
        Row(name="long bursts", bursts=Bursts(period=300, length=4)),
    ],
    ids=lambda row: row.name,
)
def test_issue10_7_dependent_failures_take_no_equal_release_back(row: Row):
    before = aborted(row, trials=12, seed=5, by_second=False)
    assert before >= 2, "by counts of both sides alone, it does"
    assert aborted(row, trials=12, seed=5) == 0


@pytest.mark.parametrize(
    "row",
    [
        Row(name="independent", base=0.01, bad=0.1),
        Row(name="few clients", base=0.01, bad=0.1, clients=1000),
        Row(name="bursts", base=0.01, bad=0.1, bursts=Bursts(period=120)),
        Row(name="new errors", base=0.0, bad=0.02),
    ],
    ids=lambda row: row.name,
)
def test_issue10_7_worse_releases_are_still_found(row: Row):
    assert aborted(row, trials=6, seed=6) == 6


def test_issue10_8_slow_first_requests_of_a_process_take_nothing_back():
    cold = Timing(stable=lognormal(0.5), canary=lognormal(0.5), share=0.05, cold=3)
    assert timed(cold, policy(0.05, LATENCY), seconds=60, by_second=False).phase == ABORTING
    kept = timed(cold, policy(0.05, LATENCY), seconds=60)
    assert kept.phase == STEP, kept.reason


def test_issue10_8_what_stays_slow_after_the_warm_up_is_rolled_back():
    slow = Timing(stable=lognormal(0.5), canary=slower(lognormal(0.5), 3), share=0.05)
    found = timed(slow, policy(0.05, LATENCY), seconds=90)
    assert found.phase == ABORTING
    assert found.reason.startswith("latency: ")


@pytest.mark.parametrize(
    ("draw", "old"),
    [(lognormal(0.5), 0), (lognormal(1.0), 1), (pareto(1.5), 1)],
    ids=["lognormal 0.5", "lognormal 1", "Pareto 1.5"],
)
def test_issue10_9_responses_that_take_a_fifth_longer_are_found(draw, old: int):
    rules = policy(0.5, LATENCY)
    slow = Timing(stable=draw, canary=slower(draw, 1.2))
    assert timed(slow, rules).phase == ABORTING
    assert old == 0 or timed(slow, rules, by_second=False).phase == STEP
    assert timed(Timing(stable=draw, canary=draw), rules).phase == STEP
    assert timed(Timing(stable=draw, canary=slower(draw, 1.03)), rules).phase == STEP, "that much is tolerated"


def test_issue10_9_response_times_are_judged_in_the_bake():
    twice = Timing(stable=lognormal(0.5), canary=slower(lognormal(0.5), 2))
    found = timed(twice, policy(0.5, LATENCY), seconds=60, baking=True)
    assert found.phase == ABORTING
    assert "latency: in the bake" in found.reason
    same = Timing(stable=lognormal(0.5), canary=lognormal(0.5))
    assert timed(same, policy(0.5, LATENCY), seconds=60, baking=True).phase == BAKE


def test_response_times_are_compared_only_with_a_history_of_them():
    slowly = Timing(stable=lognormal(0.5), canary=lognormal(0.5), rate=10, share=0.0)
    few = [each for row in slowly.seconds(10, first=BEGAN - 10) for each in row]
    rollout = GrayState.begin(policy(0.5, LATENCY))
    seen = judge.add_seconds(rollout, few, policy(0.5, LATENCY), place=None, before=BEGAN, in_force=True)
    assert seen.compared is not None
    assert seen.compared.history.limits is None
    assert seen.judged["latency"].limit is None


def test_failures_in_the_bake_are_held_against_the_history():
    assert aborted(Row(name="worse", base=0.01, bad=0.08), trials=3, seed=7, baking=True) == 3
    assert aborted(Row(name="bursts", base=0.01, bursts=Bursts(period=120)), trials=6, seed=7, baking=True) == 0


@pytest.mark.parametrize(
    "row",
    [
        Row(name="bursts", base=0.02, known=100, bursts=Bursts(period=40), rate=40),
        Row(
            name="uneven",
            base=0.05,
            bad=0.1,
            known=87,
            canaries=1,
            stables=3,
            bursts=Bursts(period=60, length=3),
            step=37,
        ),
        Row(name="broken", base=0.3, bad=0.5, known=60, canaries=3, stables=1, clients=100, broken=0.05),
        Row(name="clean", base=0, bad=0.05, known=40),
        Row(name="all", bad=1.0, known=40),
        Row(name="bake", base=0.01, bad=0.05, known=120, steps=(1.0,)),
        Row(name="fresh", base=0.1, bad=0.2, known=80, bursts=Bursts(period=40), rate=40, fresh=True),
        Row(name="fresh, few clients", base=0.2, bad=0.5, known=60, clients=50, canaries=1, stables=3, fresh=True),
        Row(name="fresh, more than half", base=0.1, known=60, start=(10, 0.5), aged=0.3, steps=(0.3, 0.8), fresh=True),
    ],
    ids=lambda row: row.name,
)
def test_the_simulation_computes_what_the_product_does(row: Row):
    drawn = failures.draw(row, 2, np.random.default_rng(3))
    judged = twin.judge(drawn)
    for trial in range(2):
        found = list(product.comparisons(drawn, trial))
        logs = np.array([each.compute_error_evidence() for each in found])
        assert logs[:, 0] == pytest.approx(judged.first[trial])
        assert logs[:, 1] == pytest.approx(judged.second[trial])
        assert logs[:, 2] == pytest.approx(judged.rest[trial])
        windows = [each.errors.window if each.errors.fits else len(twin.WINDOWS) for each in found]
        assert windows == list(judged.window[trial])
        assert [bool(each.find_total_failure()) for each in found] == list(judged.fast[trial])


def test_a_killed_controller_counts_no_second_twice():
    """Seconds are delivered again to who comes after it, with those that came meanwhile."""
    row = Row(name="worse", base=0.01, bad=0.05, known=60, **STEPS)
    drawn = failures.draw(row, 1, np.random.default_rng(4))
    whole = list(product.comparisons(drawn, 0))
    again = codec.load(type(whole[50]), codec.dump(whole[50]))
    seconds = [each for at in range(40, 60) for each in product.seconds(drawn, 0, row.known + at)]
    again = again.add_seconds(seconds, requests=20, warmup=0.0)
    assert again.compute_error_evidence() == pytest.approx(whole[59].compute_error_evidence())
    assert again.sides == whole[59].sides


def test_seconds_in_which_another_share_was_in_force_do_not_count():
    row = Row(name="worse", base=0.01, bad=0.5, known=60, **STEPS)
    drawn = failures.draw(row, 1, np.random.default_rng(4))
    begun = next(product.comparisons(drawn, 0)).skip(until=BEGAN + 30)
    seconds = [each for at in range(1, 31) for each in product.seconds(drawn, 0, row.known + at)]
    assert begun.add_seconds(seconds, requests=20, warmup=0.0).sides == begun.sides


def test_one_sided_evidence_holds_a_release_and_says_why():
    row = replace(Row(name="common", base=0.002, rise=20), known=300, steps=(0.2,), step=120)
    drawn = failures.draw(row, 1, np.random.default_rng(5))
    rules = replace(policy(0.2, ERRORS), min_time=100.0, margin=1.0)
    found = _judged(drawn, 0, rules, by_second=True, baking=False)
    assert (found.phase, found.step) == (STEP, 0)
    assert "waits for clear evidence: " in found.reason
    assert "but at the same time stable has more failed requests than before, too" in found.reason


def test_a_reason_names_clients_and_replicas():
    row = replace(Row(name="worse", base=0.0, bad=0.3), known=120, steps=(0.2,), step=60)
    drawn = failures.draw(row, 1, np.random.default_rng(9))
    found = _judged(drawn, 0, policy(0.2, ERRORS), by_second=True, baking=False)
    assert found.phase == ABORTING
    assert re.fullmatch(
        r"errors: 3\d\.\d\d% \((\d+) of \d+: \1 clients; r\d \d+, r\d \d+\) of the canary's requests failed, "
        r"0\.00% \(0 of \d+: 0 clients; r2 0, r3 0\) of stable's",
        found.reason,
    ), found.reason


def _burst() -> failures.Drawn:
    """One replica of the canary fails everything for twelve seconds; nothing else fails."""
    row = Row(name="burst", base=0.0, known=300, steps=(0.05,), step=40)
    drawn = failures.draw(row, 1, np.random.default_rng(9))
    for at in range(row.known + 22, row.known + 34):
        drawn.first[0, at, 0] = drawn.failed[0, at, 0] = drawn.requests[0, at, 0] = 5
    return drawn


def test_what_one_replica_did_in_20_seconds_is_not_enough_where_there_are_more():
    drawn = _burst()
    found = list(product.comparisons(drawn, 0))[-1]
    assert min(found.compute_error_evidence()[:2]) > math.log(100)
    assert judge.compute_strength(found, ERRORS) == 1.0
    rules = replace(policy(0.05, ERRORS), min_time=30.0, margin=1.0)
    assert "nearly all of them come from one replica" in _judged(drawn, 0, rules, by_second=True, baking=False).reason


def test_issue10_7_nor_is_it_where_the_others_are_down_by_now():
    """The router takes a replica that pauses out: with one left, what the paused one failed was enough."""
    drawn = _burst()
    found = list(product.comparisons(drawn, 0))[-1]
    left = found.change_split(TrafficSplit.from_share(0.05, canaries=1, stables=2), since=BEGAN + 40)
    assert min(left.compute_error_evidence()[:2]) > math.log(100)
    assert judge.compute_strength(left, ERRORS) == 1.0


def test_a_total_failure_needs_no_statistics():
    row = Row(name="all", bad=1.0, known=120)
    drawn = failures.draw(row, 1, np.random.default_rng(9))
    at = next(at for at, each in enumerate(product.comparisons(drawn, 0)) if each.find_total_failure())
    assert at == 4
    alone = failures.draw(replace(row, canaries=1, stables=1), 1, np.random.default_rng(9))
    assert next(at for at, each in enumerate(product.comparisons(alone, 0)) if each.find_total_failure()) == 19


def test_strength_is_1_where_both_e_values_reach_alpha():
    row = Row(name="worse", base=0.01, bad=0.2, known=120)
    drawn = failures.draw(row, 1, np.random.default_rng(9))
    for each in itertools.islice(product.comparisons(drawn, 0), 40):
        assert judge.compute_strength(each, ERRORS) == pytest.approx(
            max(0.0, min(each.compute_error_evidence()[:2]) / math.log(100))
        )
        assert min(judge.compute_parts(each, ERRORS)) == pytest.approx(judge.compute_strength(each, ERRORS))


def test_response_times_count_where_the_first_whole_second_comes_after_the_first_step():
    rules = policy(0.5, LATENCY)
    row = Timing(stable=lognormal(0.5), canary=lognormal(0.5), rate=100, share=0.5)
    seconds = [each for at in row.seconds(40, first=BEGAN + 3) for each in at]
    stable = [each for each in seconds if each.side == STABLE]
    warm = sum((Side(requests=each.requests, times=each.times) for each in stable), Side())
    stepped = replace(GrayState.begin(rules), warm=warm, looked_at=float(BEGAN)).enter(STEP, "", step=0)
    place = judge.build_split(stepped, threshold=5000, canaries=2, stables=2)
    seen = judge.add_seconds(stepped, seconds, rules, place=place, before=BEGAN, in_force=True)
    canary, other = seen.find_tallies("latency")
    assert canary.requests > 500
    assert other.requests > 500
    assert judge.find_harm(seen, rules) == ""
