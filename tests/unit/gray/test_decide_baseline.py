"""A canary compared with new replicas of stable: cold starts affect both sides alike."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from gray.played import POLICY as PLAYED
from gray.played import play
from support.machine import lacking

from devbox.cli.display import gray as text
from devbox.gray import judge
from devbox.gray.chart import render_svg
from devbox.gray.decide import SHUT, GrayObservation, compute_traffic, decide
from devbox.gray.page import render_html
from devbox.gray.policy import Policy, build_policy
from devbox.gray.state import ABORTING, STEP, WARM, GrayState
from devbox.gray.summary import render_metrics as exposed
from devbox.gray.summary import summarize
from devbox.gray.windows import TrafficSplit
from devbox.model import codec
from devbox.model.stage import Strategy
from devbox.model.traffic import Batch, Side

try:
    import numpy as np
except ImportError:
    lacking("needs numpy: pip install -e .[dev]")

from gray.simulation import failures, product
from gray.simulation.decided import ERRORS, decided, policy
from gray.simulation.rows import Row

SHORT = replace(PLAYED, steps=(500, 2500, 5000), min_time=5, min_requests=50, margin=0.1, bake=5, baseline="fresh")
OLD_FAIL = Row(name="old replicas fail", base=0.01, aged=0.1, rate=200)
YOUNG_FAIL = Row(name="new replicas fail", base=0.15, aged=0.01, rate=200)


def aborted(row: Row, *, trials: int = 8) -> int:
    """Count the rollbacks by the product in this many trials, at one step of 20 %."""
    row = replace(row, steps=(0.2,), step=120, known=200)
    drawn = failures.draw(row, trials, np.random.default_rng(7))
    rules = policy(0.2, ERRORS, baseline="fresh" if row.fresh else "stable")
    found = 0
    for trial in range(trials):
        past = [each for at in range(row.known) for each in product.seconds(drawn, trial, at)]
        release = (product.seconds(drawn, trial, row.known + at) for at in range(row.seconds))
        found += decided(past, release, rules).phase == ABORTING
    return found


def test_issue10_8_identical_code_that_fails_while_young_is_rolled_back_only_by_comparison_with_old_replicas():
    assert aborted(YOUNG_FAIL) == 8
    assert aborted(replace(YOUNG_FAIL, fresh=True)) == 0


def test_issue10_8_worse_code_is_found_though_old_replicas_fail_as_much():
    worse = replace(OLD_FAIL, bad=0.1)
    assert aborted(worse) == 0
    assert aborted(replace(worse, fresh=True)) == 8
    assert aborted(replace(YOUNG_FAIL, bad=0.6, fresh=True)) == 8


def test_issue10_8_worse_code_is_found_though_each_new_replica_fails_second_after_second():
    """A fault of all new replicas is not a burst of one, which would require windows that are too long to judge."""
    young = Row(name="new replicas fail", base=0.5, aged=0.001, rate=200, fresh=True)
    assert aborted(young) == 0
    assert aborted(replace(young, bad=0.9)) == 8


def test_issue10_8_a_canary_and_its_baseline_are_alike_at_every_share():
    for share in (0.01, 0.3, 0.5):
        place = TrafficSplit.from_share(share, canaries=2, stables=3, baselines=2)
        assert (place.share, place.whole, place.before, place.has_baseline) == (0.5, 2 * share, 3, True)
    most = TrafficSplit.from_share(0.8, canaries=2, stables=2, baselines=2)
    assert (most.share, most.whole) == (0.8, 1.0)
    whole = TrafficSplit.from_share(1.0, canaries=2, stables=2, baselines=2)
    assert (whole.share, whole.has_baseline) == (1.0, False), "in the bake, only the history is left"


def test_issue10_8_replicas_are_thinned_to_the_least_busy_kind():
    assert TrafficSplit.from_share(0.05, canaries=2, stables=2, baselines=2).thinning == pytest.approx((1.0, 1.0, 0.05))
    assert TrafficSplit.from_share(0.2, canaries=2, stables=2, baselines=4).thinning == pytest.approx((0.5, 1.0, 0.1))
    assert TrafficSplit.from_share(0.2, canaries=2, stables=2).thinning == pytest.approx((1.0, 0.25, 0.2))


def test_issue10_8_each_step_begins_new_windows():
    """The canary's share of the two is one half at each step: only its share of all clients distinguishes the steps."""
    rollout = replace(GrayState.begin(SHORT), phase=STEP, step=0)
    places = [
        judge.build_split(rollout, threshold=share, canaries=2, stables=2, baselines=2) for share in (500, 2500, 5000)
    ]
    assert all(before is not None and before != after for before, after in pairwise(places))


class Run:
    """A release with a baseline, observed every second."""

    def __init__(self, rules: Policy) -> None:
        self.rules, self.now, self.rollout = rules, 1000.0, GrayState.begin(rules)

    def look(self, **facts: object) -> GrayState:
        self.now += 1
        batch = Batch(canary=Side(requests=100), stable=Side(requests=500, errors=500), baseline=Side(requests=100))
        share = compute_traffic(self.rollout, self.rules).threshold
        seen = GrayObservation(now=self.now, batch=batch, threshold=share, canary_healthy=True, stable_healthy=True)
        seen = replace(seen, baseline_healthy=True, baseline_replicas=2)
        self.rollout = decide(self.rollout, replace(seen, **facts), self.rules)
        return self.rollout


RULES = policy(0.2, ERRORS, baseline="fresh", min_time=5.0, min_requests=10)


def test_issue10_8_it_begins_when_the_baseline_is_healthy():
    run = Run(RULES)
    assert run.look(baseline_healthy=False).reason == "waits for the baseline's health"
    assert run.look().phase == STEP


def test_issue10_8_what_old_replicas_do_decides_nothing():
    run = Run(RULES)
    for _ in range(10):
        run.look()
    canary, control = run.rollout.find_tallies("errors")
    assert (canary.bad, control.bad) == (0, 0)
    assert run.rollout.phase == "hold", run.rollout.reason


def test_issue10_8_without_a_baseline_a_release_does_not_progress():
    run = Run(RULES)
    run.look()
    for _ in range(20):
        assert run.look(baseline_healthy=False).phase == STEP
    assert run.rollout.reason == "waits for the baseline's health"


def test_issue10_8_a_baseline_that_is_shut_out_is_opened_again_and_the_canary_goes_on_to_serve():
    run = Run(RULES)
    run.look()
    run.look(baseline_tripped=True)
    assert "for the baseline: the router shut it out" in run.rollout.reason
    for _ in range(int(SHUT) - 1):
        run.look(baseline_tripped=True)
        assert not compute_traffic(run.rollout, run.rules).reopen_baseline
    run.look(baseline_tripped=True)
    goal = compute_traffic(run.rollout, run.rules)
    assert (goal.reopen_baseline, goal.reopen, goal.threshold) == (True, False, 2000)
    run.look(baseline_tripped=True)
    assert not compute_traffic(run.rollout, run.rules).reopen_baseline, "it waits once more"
    run.look()
    assert run.rollout.baseline_shut is None
    assert run.rollout.trips == 0


def test_issue10_8_the_strategy_says_what_a_release_is_compared_with():
    assert not build_policy(Strategy(kind="gray"), completes=False).has_baseline
    assert build_policy(Strategy(kind="gray", baseline="fresh"), completes=False).has_baseline


def test_issue10_8_a_state_without_a_baseline_is_read_as_it_was_written():
    plain = codec.dump(GrayState.begin(PLAYED))
    del plain["baseline_shut"]
    assert codec.load(GrayState, plain) == GrayState.begin(PLAYED)


@pytest.fixture(scope="module")
def gray_release():
    return play(base=0.2, bad=0.02, fresh=0.02, rate=300, policy=SHORT, by_second=True)


def test_issue10_8_the_report_has_the_baseline_by_itself(gray_release):
    assert gray_release.rollout.phase == "stable", gray_release.rollout.reason
    seen = summarize(gray_release)
    assert seen.baseline is not None
    assert seen.baseline.requests > 100
    assert seen.baseline.rate == pytest.approx(0.02, abs=0.02)
    assert seen.stable.rate == pytest.approx(0.2, abs=0.02)
    shown = [line.text for line in text.format_lines(seen, unicode=True)]
    assert any(line.strip().startswith("old, fresh (baseline)") for line in shown)
    page = render_html(gray_release)
    assert page.count("old, fresh (baseline)") == 2, "in the table, and in the picture's legend"
    assert "baseline: failed" in page
    assert "as many new replicas of the old release" in page
    root = ET.fromstring(render_svg(gray_release))
    kinds = [path.get("class") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert kinds.count("s-baseline") == 2
    assert f'devbox_rollout_requests_total{{stage="gray",side="baseline"}} {seen.baseline.requests}' in exposed(
        gray_release
    )
    assert gray_release.build_payload().to_body()["baseline"] == {
        "requests": seen.baseline.requests,
        "errors": seen.baseline.errors,
    }
    assert codec.load(type(gray_release), codec.dump(gray_release)) == gray_release


def test_issue10_8_without_a_baseline_nothing_is_said_of_one():
    plain = play(base=0.01, bad=0.01, rate=300, policy=replace(SHORT, baseline="stable"), by_second=True)
    assert summarize(plain).baseline is None
    assert "baseline" not in exposed(plain)
    assert "old, fresh" not in render_html(plain)
    assert "baseline" not in plain.build_payload().to_body()


def test_issue10_8_a_reason_names_the_baseline():
    found = play(base=0.3, bad=0.3, fresh=0.02, rate=300, policy=replace(SHORT, margin=1.0), by_second=True)
    assert found.rollout.phase == "aborted"
    assert "of the baseline's" in found.rollout.reason
    assert WARM not in found.rollout.reason
