"""Clock changes, suspends and changing replicas during a gray release do not change the decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from devbox.deploy.controller import Controller
from devbox.gray import windows
from devbox.gray.comparison import Comparison
from devbox.gray.decide import GrayObservation, compute_traffic, decide
from devbox.gray.history import StableHistory
from devbox.gray.policy import Policy, WatchedMetric
from devbox.gray.state import ABORTING, BAKE, STEP, GrayState
from devbox.gray.windows import TrafficSplit
from devbox.model.traffic import CANARY, HISTORY, STABLE, Batch, Second, Side

BEGAN = 1_795_000_000
RULES = Policy(
    steps=(5000,),
    min_time=1e6,
    min_requests=1,
    timeout=1e9,
    bake=1e6,
    margin=0.02,
    watches=(WatchedMetric(name="errors", alpha=0.01),),
)


def seconds(at: int, *, failed: int = 0, baking: bool = False) -> tuple[Second, ...]:
    """One second of two replicas per side, 20 requests each; this many of each canary replica fail."""
    bad = {"failed": failed, "first_failed": failed}
    canary = tuple(Second(at=at, replica=f"new{each}", side=CANARY, requests=20, **bad) for each in (1, 2))
    old = tuple(Second(at=at, replica=f"web{each}", side=STABLE, requests=20) for each in (1, 2))
    return canary if baking else (*canary, *old)


class Run:
    """A release, observed every second by a clock that may be set."""

    def __init__(self, *, baking: bool) -> None:
        self.baking = baking
        self.now = BEGAN
        self.replicas = 2  # of the canary, that may get requests
        past = [each for at in range(BEGAN - 90, BEGAN) for each in seconds(at) if each.side == STABLE]
        self.rollout = GrayState.begin(RULES)
        self.look(past)
        assert self.rollout.phase == STEP
        if baking:
            self.rollout = self.rollout.enter(BAKE, "promoted")

    def look(self, found: Any) -> None:
        sums = {CANARY: Side(), STABLE: Side()}
        for each in found:
            sums[each.side] += Side(requests=each.requests, errors=each.failed)
        observation = GrayObservation(
            now=self.now + 0.5,
            batch=Batch(canary=sums[CANARY], stable=sums[STABLE], seconds=tuple(found)),
            threshold=compute_traffic(self.rollout, RULES).threshold,
            canary_healthy=True,
            stable_healthy=True,
            canary_replicas=self.replicas,
            stable_replicas=2,
        )
        self.rollout = decide(self.rollout, observation, RULES)

    def go_on(self, count: int, *, failed: int = 0) -> None:
        for _ in range(count):
            if self.rollout.phase != ABORTING:
                self.now += 1
                self.look(seconds(self.now - 1, failed=failed, baking=self.baking))


@pytest.mark.parametrize("baking", [False, True], ids=["step", "bake"])
@pytest.mark.parametrize("jump", [-30, -3600, -(10**9), 3600, 10**9])
def test_issue10_9_a_bad_release_is_rolled_back_although_the_clock_was_set(jump: int, *, baking: bool):
    """After it was set back, no second was later than the last one: none was judged until the clock was there again."""
    run = Run(baking=baking)
    run.go_on(15)
    run.now += jump
    run.go_on(120, failed=12)
    assert run.rollout.phase == ABORTING, run.rollout.reason


@pytest.mark.parametrize("period", [4, 6, 9])
def test_issue10_9_a_bad_release_is_rolled_back_in_the_bake_although_a_replica_comes_and_goes(period: int):
    """Each change of their number began the ten seconds again after which the bake's failures are believed."""
    run = Run(baking=True)
    for _ in range(40):
        run.go_on(period, failed=8)
        run.replicas = 3 - run.replicas
    assert run.rollout.phase == ABORTING, run.rollout.reason


@pytest.mark.parametrize("jump", [-30, -3600, 3600, 10**9])
def test_a_good_release_is_not_rolled_back_because_the_clock_was_set(jump: int):
    run = Run(baking=False)
    run.go_on(15)
    run.now += jump
    run.go_on(120)
    assert run.rollout.phase == STEP


def test_issue10_9_a_canary_that_was_shut_out_is_opened_again_although_the_clock_was_set_back():
    run = Run(baking=False)
    run.rollout = replace(run.rollout, shut=run.now + 0.5)
    run.now -= 3600
    for _ in range(15):
        run.now += 1
        run.rollout = run.rollout.add_batch(Batch(canary=Side(), stable=Side()), RULES, now=run.now)
    assert compute_traffic(run.rollout, RULES).reopen


def test_issue10_9_a_gap_of_weeks_costs_no_more_than_one_of_minutes(monkeypatch: pytest.MonkeyPatch):
    """Each 20 seconds of the gap were summed up: after a suspend of a week, this took minutes."""
    calls = 0
    after: Callable[..., object] = windows.add_block

    def counting(*args: object) -> object:
        nonlocal calls
        calls += 1
        return after(*args)

    monkeypatch.setattr(windows, "add_block", counting)
    place = TrafficSplit.from_share(0.5, canaries=2, stables=2)
    compared = Comparison(until=BEGAN - 1).change_split(place, since=BEGAN - 2)
    for at in (BEGAN, BEGAN + 1, BEGAN + 86_400):
        compared = compared.add_seconds(seconds(at, failed=1), requests=20, warmup=10)
    assert calls <= 2 * (HISTORY // 20 + 2)
    assert [each.at for each in compared.moments] == [BEGAN + 86_400]


@pytest.mark.parametrize("later", [7, HISTORY - 1, HISTORY, 1 << 40])
def test_issue10_9_a_history_is_ten_minutes_long_however_far_the_clock_was_set(later: int):
    """It had zeros for each second in between, before they were cut off: 14 GB after a clock of 1970 was set."""
    past = StableHistory().add_seconds(seconds(BEGAN), quantile=0.99, fewest=1)
    past = past.add_seconds(seconds(BEGAN + later, failed=3), quantile=0.99, fewest=1)
    length = min(later + 1, HISTORY)
    kept = [20 * 4] if later < HISTORY else []
    assert past.requests == (*kept, *[0] * (length - 1 - len(kept)), 20 * 4)
    assert past.failed["new1"] == (*[0] * (length - 1), 3)
    assert past.at == BEGAN + later


def test_issue10_9_a_history_begins_again_when_the_clock_was_set_back():
    past = StableHistory().add_seconds(seconds(BEGAN), quantile=0.99, fewest=1)
    past = past.add_seconds(seconds(BEGAN - 3600, failed=1), quantile=0.99, fewest=1)
    assert (past.at, past.requests, past.failed["new1"]) == (BEGAN - 3600, (80,), (1,))


def test_issue10_9_a_controller_asks_for_seconds_by_the_clock_as_it_is():
    asked: list[int] = []
    ground = SimpleNamespace(read_seconds=lambda *, after: asked.append(after) or ())
    controller = Controller(gray_store=None, backend=ground, until=(), on_look=print, on_change=print)
    gray_release = SimpleNamespace(rollout=SimpleNamespace(compared=Comparison(until=BEGAN)))
    controller._read_seconds(gray_release, BEGAN - 3600.5)
    controller._read_seconds(gray_release, BEGAN + 1.5)
    controller._read_seconds(gray_release, BEGAN + 3600.5)
    assert asked == [BEGAN - 3601, BEGAN, BEGAN + 3600 - HISTORY - 1]


@pytest.mark.parametrize("period", [1, 2, 3, 4, 9, 25])
def test_issue10_9_a_bad_release_is_rolled_back_at_a_step_although_a_replica_comes_and_goes(period: int):
    """Two seconds after each change of their number did not count: with a change every two seconds, none did."""
    run = Run(baking=False)
    for _ in range(120 // period):
        run.go_on(period, failed=8)
        run.replicas = 3 - run.replicas
    assert run.rollout.phase == ABORTING, run.rollout.reason


def test_issue10_9_a_replica_that_comes_and_goes_neither_hides_seconds_nor_multiplies_its_bursts():
    """Each change began another block, in which a burst of one replica was worth as much again."""
    steady, flapping = Run(baking=False), Run(baking=False)
    for _ in range(4):
        for run in (steady, flapping):
            run.go_on(4, failed=1)
        flapping.replicas = 3 - flapping.replicas
    found = [run.rollout.compared for run in (steady, flapping)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].compute_error_evidence() == found[0].compute_error_evidence()
    assert found[1].sides == found[0].sides


def test_other_numbers_of_replicas_count_from_the_end_of_a_block_on():
    run = Run(baking=False)
    run.go_on(10)
    run.replicas = 1
    seen = []
    for _ in range(30):
        run.go_on(1)
        assert run.rollout.compared is not None
        assert run.rollout.compared.place is not None
        seen.append(run.rollout.compared.place.canaries)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 2
    assert seen.index(1) <= 20
    assert run.rollout.compared.count_total(CANARY, 0).requests == 38 * 40, (
        "all but two seconds after the share changed"
    )


def test_issue10_9_a_share_that_is_newer_than_the_clock_is_compared_at_once():
    """Without requests before the clock was set back, nothing counted until it was there again."""
    place = TrafficSplit.from_share(0.5, canaries=2, stables=2)
    compared = Comparison().change_split(place, since=BEGAN).adjust_clock(now=BEGAN - 86_400.5)
    for at in range(BEGAN - 86_400, BEGAN - 86_390):
        compared = compared.add_seconds(seconds(at, failed=12), requests=20, warmup=10)
    assert compared.find_total_failure() == ""
    assert compared.count_total(CANARY, 0).requests == 9 * 40, "all but a second"


@pytest.mark.parametrize("back", [3, 5, 59])
def test_issue10_9_a_history_is_kept_when_the_clock_was_set_back_by_seconds(back: int):
    """It began again, though bursts that it had seen happen all the same."""
    compared = Comparison()
    for at in range(BEGAN - 90, BEGAN):
        compared = compared.add_warmup(seconds(at, baking=False)[2:], quantile=0.99, fewest=1)
    compared = compared.adjust_clock(now=BEGAN - back + 0.5)
    for at in range(BEGAN - back, BEGAN + 10, 3):
        three = [each for second in range(at, at + 3) for each in seconds(second)[2:]]
        compared = compared.add_warmup(three, quantile=0.99, fewest=1)
    past = compared.history
    assert past.requests == (40,) * (past.at - BEGAN + 91), "each second once"


@pytest.mark.parametrize(("failed", "phase"), [(10, ABORTING), (0, BAKE)])
def test_issue10_9_without_a_history_the_bake_is_compared_with_the_steps(failed: int, phase: str):
    """A stage without requests before the release has no history: only a total failure was rolled back."""
    run = Run(baking=False)
    assert run.rollout.compared is not None
    run.rollout = replace(run.rollout, compared=replace(run.rollout.compared, history=StableHistory()))
    run.go_on(30)
    run.rollout, run.baking = run.rollout.enter(BAKE, "promoted"), True
    run.go_on(60, failed=failed)
    assert run.rollout.phase == phase, run.rollout.reason


def test_issue10_9_a_replica_of_stable_that_came_a_minute_ago_has_a_history_of_a_minute():
    """The time before it came counted as quiet: so its usual failures were a burst that no window fits."""
    compared = Comparison()
    for at in range(BEGAN - 600, BEGAN):
        both = [replace(each, first_failed=4 + at % 3) for each in seconds(at)[2:]]
        compared = compared.add_warmup(both if at >= BEGAN - 50 else both[:1], quantile=0.99, fewest=1)
    begun = compared.change_split(TrafficSplit.from_share(0.5, canaries=2, stables=2), since=BEGAN)
    assert begun.history.compute_usual()["web2"] == pytest.approx(begun.history.compute_usual()["web1"], rel=0.05)
    assert begun.errors.fits
    assert begun.errors.counted[0].stable_of == (600 + 50) // 2
