"""The state machine of a gray release: its transitions at an observation, and those it must not make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devbox.gray import state as phases
from devbox.gray.decide import DRAIN, SHUT, GrayObservation, compute_traffic, decide
from devbox.gray.policy import Policy, WatchedMetric, build_policy
from devbox.gray.state import LONGEST_LOOK, GrayState
from devbox.model import codec
from devbox.model.stage import Metric, Strategy
from devbox.model.traffic import TIMES, Batch, Side

POLICY = Policy(
    steps=(100, 500, 5000),
    min_time=10,
    min_requests=100,
    timeout=600,
    bake=30,
    margin=0.02,
    watches=(WatchedMetric(name="errors", alpha=0.01),),
)
BOTH = replace(POLICY, watches=(WatchedMetric(name="errors", alpha=0.005), WatchedMetric(name="latency", alpha=0.005)))
FAST, SLOW = TIMES.index(1000), TIMES.index(8000)


def side(requests: int, errors: int = 0, *, slow: int = 0) -> Side:
    times = [0] * (len(TIMES) + 1)
    times[FAST], times[SLOW] = requests - slow, slow
    return Side(requests=requests, errors=errors, times=tuple(times))


QUIET = Batch(canary=side(0), stable=side(0))
GOOD = Batch(canary=side(400), stable=side(3000))


class Run:
    """A rollout that is observed every second; the router obeys."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy, self.now = policy, 1000.0
        self.rollout = GrayState.begin(policy)

    def look(self, batch: Batch = GOOD, *, seconds: float = 1.0, **facts: object) -> GrayState:
        self.now += seconds
        threshold = compute_traffic(self.rollout, self.policy).threshold
        seen = GrayObservation(now=self.now, batch=batch, threshold=threshold, canary_healthy=True, stable_healthy=True)
        self.rollout = decide(self.rollout, replace(seen, **facts), self.policy)
        return self.rollout

    def until(self, phase: str, batch: Batch = GOOD, *, step: int | None = None, most: int = 200) -> GrayState:
        for _ in range(most):
            if self.rollout.phase == phase and step in (None, self.rollout.step):
                return self.rollout
            self.look(batch)
        raise AssertionError(f"{self.rollout.phase} {self.rollout.step}: {self.rollout.reason}")

    @property
    def threshold(self) -> int:
        return compute_traffic(self.rollout, self.policy).threshold


def test_a_good_release_passes_its_steps_and_waits_for_the_promotion():
    run, seen = Run(), []
    while run.rollout.phase != phases.HOLD:
        run.look()
        seen.append(run.threshold)
    assert sorted(set(seen)) == [100, 500, 5000]
    assert seen == sorted(seen)
    assert run.look(seconds=5000).phase == phases.HOLD
    assert run.look(asked="complete", by="ann").phase == phases.BAKE
    assert run.threshold == 10_000
    run.until(phases.STABLE)
    assert run.threshold == 10_000


def test_a_stage_of_its_own_completes_by_itself():
    run = Run(replace(POLICY, completes=True))
    assert run.until(phases.STABLE).step == 2


def test_a_step_takes_its_time_however_much_traffic_there_is():
    run = Run()
    run.until(phases.STEP)
    for _ in range(9):
        assert run.look().step == 0
    assert "for the minimum time" in run.rollout.reason
    run.look()
    assert run.look().step == 1


def test_a_step_takes_its_requests_however_long_it_lasts():
    run = Run()
    run.until(phases.STEP)
    for _ in range(40):
        run.look(Batch(canary=side(2), stable=side(200)))
    assert (run.rollout.step, run.rollout.reason) == (0, "waits for requests: 80 of 100")


def test_without_certainty_it_does_not_go_on():
    run = Run()
    run.until(phases.STEP)
    for _ in range(60):
        run.look(Batch(canary=side(3), stable=side(300)))
    assert run.rollout.step == 0
    assert "for certainty" in run.rollout.reason


def test_without_traffic_a_release_holds_then_requires_an_operator_and_is_never_promoted():
    run = Run()
    run.until(phases.STEP)
    for _ in range(61):
        assert run.look(QUIET, seconds=10).phase in (phases.STEP, phases.NEEDS_HUMAN)
        assert run.threshold == 100
    assert run.rollout.phase == phases.NEEDS_HUMAN
    assert "requests: 0 of 100" in run.rollout.reason
    assert run.look(QUIET, seconds=100_000).phase == phases.NEEDS_HUMAN
    assert run.look(QUIET, asked="resume").phase == phases.STEP


def test_unobserved_time_does_not_count():
    run = Run()
    run.until(phases.STEP)
    run.look(seconds=7200)
    assert run.rollout.watched <= LONGEST_LOOK
    run.look(seconds=-7200)
    assert run.rollout.watched <= LONGEST_LOOK


def test_a_bad_release_is_rolled_back():
    run = Run()
    run.until(phases.STEP)
    for _ in range(8):
        run.look(Batch(canary=side(20, 1), stable=side(1900)))
    assert run.rollout.phase == phases.ABORTING
    assert run.threshold == 0
    assert "errors: 5.00% of the canary's requests failed" in run.rollout.reason


def test_a_slow_release_is_rolled_back():
    run = Run(BOTH)
    run.until(phases.STEP, Batch(canary=side(0), stable=side(3000, slow=3)))
    assert run.rollout.judged["latency"].limit == 1000
    for _ in range(8):
        run.look(Batch(canary=side(50, slow=20), stable=side(3000, slow=3)))
    assert run.rollout.phase == phases.ABORTING
    assert "latency" in run.rollout.reason


def test_latency_is_judged_only_by_a_limit_that_stable_has_set():
    run = Run(BOTH)
    for _ in range(5):
        assert run.look(Batch(canary=side(0), stable=side(20))).phase == phases.WARM
    assert "latency of stable: 100 requests so far" in run.rollout.reason


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"canary_restarts": 3}, "crashed 3 times"),
        ({"canary_healthy": False}, "health check fails"),
        ({"batch": Batch(canary=side(10, 10), stable=side(100))}, "all 10 requests of the canary failed"),
        ({"asked": "abort", "by": "bob"}, "aborted by bob"),
    ],
    ids=["crash loop", "health", "all errors", "an operator"],
)
def test_a_rollback_is_immediate(facts: dict[str, object], why: str):
    run = Run()
    run.until(phases.STEP)
    run.look(**facts)
    assert run.rollout.phase == phases.ABORTING
    assert why in run.rollout.reason
    assert run.threshold == 0


def test_a_canary_that_the_router_shut_out_gets_another_chance_and_no_third():
    """One burst of one replica may be all it was; HAProxy can't know."""
    run = Run()
    run.until(phases.STEP)
    for _ in range(int(SHUT)):
        assert run.look(QUIET, tripped=True).phase == phases.STEP
        assert "router shut it out" in run.rollout.reason
        assert not compute_traffic(run.rollout, run.policy).reopen
    run.look(QUIET, tripped=True)
    assert compute_traffic(run.rollout, run.policy).reopen
    assert (run.look(QUIET, tripped=False).trips, run.rollout.shut) == (1, None)
    run.look(tripped=True)
    assert run.rollout.phase == phases.ABORTING
    assert "router shut the canary out 2 times" in run.rollout.reason


def test_a_canary_that_fails_again_when_reopened_is_rolled_back():
    run = Run()
    run.until(phases.STEP)
    for _ in range(int(SHUT) + 1):
        run.look(QUIET, tripped=True)
    run.look(Batch(canary=side(1, 1), stable=side(30)), tripped=True)
    assert run.rollout.phase == phases.ABORTING


def test_issue10_7_a_canary_is_opened_again_after_a_failure_that_stable_had_too():
    """A shared dependency was down for 15 s: all requests of both sides failed, and the new release was rolled back."""
    run = Run()
    run.until(phases.STEP)
    for number in range(3 * int(SHUT)):
        failing = Batch(
            canary=side(1, 1) if compute_traffic(run.rollout, run.policy).reopen else side(0), stable=side(30, 30)
        )
        assert run.look(failing, tripped=True).phase == phases.STEP, number
        assert run.rollout.trips == 0
    run.look(QUIET, tripped=False)
    for _ in range(int(SHUT) + 1):
        run.look(Batch(canary=side(0), stable=side(30, 14)), tripped=True)
    run.look(Batch(canary=side(1, 1), stable=side(30, 14)), tripped=True)
    assert "router shut the canary out 2 times" in run.rollout.reason, "stable serves"


def test_issue10_7_health_checks_that_fail_on_both_sides_say_nothing_against_the_canary():
    """A database was down for a minute: the new release was rolled back for a check that stable failed as well."""
    run = Run()
    run.until(phases.STEP)
    before = run.rollout.watched
    for _ in range(60):
        run.look(QUIET, canary_healthy=False, stable_healthy=False)
        assert run.rollout.phase == phases.STEP
    assert run.rollout.reason == "waits for the health of both sides"
    assert run.rollout.watched == before, "an outage is no observation"
    run.look(QUIET, canary_healthy=False)
    assert (run.rollout.phase, run.rollout.reason) == (phases.ABORTING, "the canary's health check fails")


def test_issue10_7_a_bake_is_not_over_because_both_sides_were_down():
    run = Run()
    run.until(phases.HOLD)
    run.look(asked="complete")
    for _ in range(100):
        run.look(QUIET, seconds=5, canary_healthy=False, stable_healthy=False)
    assert run.rollout.phase == phases.BAKE
    assert run.look(QUIET).phase == phases.BAKE


def test_issue10_7_an_operator_is_required_if_both_sides_stay_down():
    """The release itself may have broken the shared dependency."""
    run = Run()
    run.until(phases.STEP)
    for _ in range(int(run.policy.timeout) + 2):
        run.look(QUIET, canary_healthy=False, stable_healthy=False)
    assert (run.rollout.phase, run.rollout.reason) == (phases.NEEDS_HUMAN, "waited for the health of both sides")


@pytest.mark.parametrize("killed", [False, True], ids=["the router did not answer", "the controller was killed"])
def test_issue10_gray_a_canary_that_was_not_reopened_has_not_failed_again(*, killed: bool):
    """The record says that it is time to reopen it before the router is asked to."""
    run = Run()
    run.until(phases.STEP)
    for _ in range(int(SHUT) + 1):
        run.look(QUIET, tripped=True)
    assert compute_traffic(run.rollout, run.policy).reopen
    run.rollout = codec.load(GrayState, codec.dump(run.rollout)) if killed else run.rollout
    assert run.look(QUIET, tripped=True).phase == phases.STEP
    assert run.rollout.trips == 1
    assert compute_traffic(run.rollout, run.policy).reopen, "once more"


def test_each_step_has_its_own_count_of_being_shut_out():
    run = Run()
    run.until(phases.STEP)
    run.look(tripped=True)
    run.until(phases.STEP, step=1)
    assert run.rollout.trips == 0
    assert run.look(tripped=True).phase == phases.STEP


def test_draining_ends_when_the_router_reports_no_connection():
    run = Run()
    run.until(phases.STEP)
    run.look(asked="abort")
    assert run.look(threshold=100).phase == phases.ABORTING
    assert run.look(threshold=0).phase == phases.ABORTING, "the last look still counted requests of the canary"
    assert run.look(QUIET, threshold=0, open=2).phase == phases.ABORTING
    over = run.look(QUIET, threshold=0, open=0)
    assert (over.phase, over.reason) == (phases.ABORTED, "aborted by an operator")
    assert run.look(asked="resume") is over


def test_a_request_that_never_ends_does_not_keep_it_for_ever():
    run = Run()
    run.until(phases.STEP)
    run.look(asked="abort")
    for _ in range(int(DRAIN) + 1):
        run.look(QUIET, threshold=0, open=1)
    assert run.rollout.phase == phases.ABORTED


def test_a_rollback_to_a_side_that_is_down_does_not_happen():
    run = Run()
    run.until(phases.STEP, step=2)
    run.look(asked="abort", stable_healthy=False)
    assert run.rollout.phase == phases.NEEDS_HUMAN
    assert "an outage" in run.rollout.reason
    assert run.threshold == 5000
    run.look(asked="abort")
    assert run.threshold == 0


def test_what_is_irreversible_freezes_instead():
    run = Run(replace(POLICY, irreversible=True))
    run.until(phases.STEP, step=1)
    run.look(canary_restarts=3)
    assert run.rollout.phase == phases.NEEDS_HUMAN
    assert run.threshold == 500
    assert run.look(asked="abort").phase == phases.NEEDS_HUMAN


def test_resume_counts_earlier_evidence_as_seen():
    run = Run(replace(POLICY, irreversible=True))
    run.until(phases.STEP)
    for _ in range(8):
        run.look(Batch(canary=side(20, 1), stable=side(1900)))
    assert run.rollout.phase == phases.NEEDS_HUMAN
    assert run.look(asked="resume").phase == phases.STEP
    assert run.look().phase == phases.STEP


def test_held_it_stays_but_is_watched():
    run = Run()
    run.until(phases.STEP)
    run.look(asked="hold")
    for _ in range(50):
        assert run.look().step == 0
    assert run.rollout.reason == "held"
    assert run.look(asked="resume").step == 1
    run.look(asked="hold")
    assert run.look(canary_restarts=3).phase == phases.ABORTING


def test_a_gray_release_does_not_progress_while_both_sides_fail():
    run = Run()
    run.until(phases.STEP)
    for _ in range(30):
        run.look(Batch(canary=side(400, 380), stable=side(3000, 2850)))
    assert (run.rollout.phase, run.rollout.step) == (phases.STEP, 0)
    assert "stable, which is failing, too" in run.rollout.reason


def test_a_release_that_fails_at_100_percent_is_rolled_back():
    run = Run()
    run.until(phases.HOLD)
    run.look(asked="complete")
    for _ in range(5):
        run.look(Batch(canary=side(3000, 300), stable=side(0)))
    assert run.rollout.phase == phases.ABORTING
    assert "in the bake" in run.rollout.reason


def test_a_rehearsal_rolls_back_once_and_then_progresses():
    run = Run(replace(POLICY, rehearse=True))
    run.until(phases.REHEARSING)
    assert run.threshold == 0
    run.look(GOOD)
    assert run.rollout.phase == phases.REHEARSING
    run.look(QUIET)
    assert (run.rollout.phase, run.rollout.step, run.threshold) == (phases.STEP, 0, 100)
    assert run.until(phases.HOLD).rehearsed


def test_issue10_gray_a_rehearsal_does_not_wait_for_long_connections():
    """It had no end while a WebSocket of the canary was open."""
    run = Run(replace(POLICY, rehearse=True))
    run.until(phases.REHEARSING)
    for _ in range(int(DRAIN)):
        assert run.look(QUIET, open=1).phase == phases.REHEARSING
    run.look(QUIET, open=1)
    assert (run.rollout.phase, run.rollout.rehearsed) == (phases.STEP, True)


def test_issue10_gray_a_failed_rollback_rehearsal_requires_an_operator():
    run = Run(replace(POLICY, rehearse=True))
    run.until(phases.REHEARSING)
    for _ in range(62):
        run.look(GOOD, seconds=10)
    assert run.rollout.phase == phases.NEEDS_HUMAN
    assert "the rollback does not work" in run.rollout.reason
    assert run.threshold == 0
    assert run.look(QUIET, asked="resume").rehearsed, "by now, it does"


def test_issue10_gray_hold_is_heard_during_a_rehearsal():
    """It was taken and forgotten."""
    run = Run(replace(POLICY, rehearse=True))
    run.until(phases.REHEARSING)
    run.look(GOOD, asked="hold")
    assert run.rollout.held
    run.look(QUIET)
    assert run.look(GOOD).reason == "held"


def test_a_canary_that_never_becomes_ready_is_aborted():
    run = Run()
    for _ in range(62):
        run.look(QUIET, seconds=10, canary_healthy=False)
    assert run.rollout.phase == phases.ABORTING
    assert run.threshold == 0


def test_what_the_router_may_fall_back_to_was_proven():
    run = Run()
    run.until(phases.STEP)
    seen = set()
    while run.rollout.phase != phases.STABLE:
        run.look(asked="complete")
        now = compute_traffic(run.rollout, POLICY)
        seen.add((now.safe, now.threshold))
    assert seen == {(0, 100), (100, 500), (500, 5000), (5000, 5000), (5000, 10_000), (10_000, 10_000)}


def test_it_is_kept_as_json():
    run = Run(BOTH)
    run.until(phases.STEP, Batch(canary=side(0), stable=side(3000)))
    run.look(Batch(canary=side(20, 1), stable=side(1900)))
    assert codec.load(GrayState, codec.dump(run.rollout)) == run.rollout


def test_the_policy_of_a_strategy():
    found = build_policy(
        Strategy(kind="gray", steps=(1, 5.5), metrics=(Metric(name="errors"), Metric(name="latency", alpha=0.004))),
        completes=True,
    )
    assert found.steps == (100, 550)
    assert [(watch.name, watch.alpha) for watch in found.watches] == [
        ("errors", pytest.approx(0.006)),
        ("latency", 0.004),
    ]
    assert build_policy(Strategy(kind="gray"), completes=False).steps == (500, 2000, 5000)
