"""A controller whose router crashes: it waits, decides nothing, and loses no request of an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gray.played import BEGAN, DEPLOYMENT

from devbox.deploy.controller import PATIENCE, Controller, RouterStats
from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.errors import RouterUnavailable
from devbox.gray.policy import Policy, WatchedMetric
from devbox.gray.release import GrayRelease
from devbox.gray.state import ABORTED, HOLD, GrayState
from devbox.host.paths import Paths
from devbox.model.traffic import Second, Side

POLICY = Policy(
    steps=(100, 5000),
    min_time=3,
    min_requests=10,
    timeout=600,
    bake=1,
    margin=0.5,
    watches=(WatchedMetric(name="errors", alpha=0.01),),
)


@dataclass
class Ground:
    """A fake router. `away`: observations and leases that it does not answer; afterwards it counts from 0."""

    away: Callable[[int], bool] = lambda _: False
    threshold: int = 0
    asked: int = 0
    lives: int = 0
    counted: int = 0
    lent: list[int] = field(default_factory=list)

    def read_stats(self) -> RouterStats:
        self._answer()
        self.counted += 20
        seen = Side(requests=self.counted)
        return RouterStats(
            canary=seen if self.threshold else Side(),
            stable=seen,
            began=str(self.lives),
            threshold=self.threshold,
            canary_healthy=True,
            stable_healthy=True,
        )

    def read_seconds(self, *, after: int) -> tuple[Second, ...]:
        return ()

    def lease_share(self, *, threshold: int, safe: int, generation: int = 0, slow: int = 0) -> None:
        self._answer()
        self.threshold = threshold
        self.lent.append(threshold)

    def reopen(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.asked += 1
        if self.away(self.asked):
            self.lives, self.counted, self.threshold = self.lives + 1, 0, 0
            raise RouterUnavailable("the router does not respond")


@dataclass
class Desk:
    """A controller with its own clock, and its events."""

    ground: Ground
    place: Path
    told: list[tuple[str, int]] = field(default_factory=list)
    went: int = 0
    now: float = BEGAN
    set_by: float = 0.0  # the clock of the wall
    set_when_away: float = 0.0

    def run(self, wish: OperatorRequest | None = None) -> GrayRelease:
        gray_store = GrayStore(Paths(str(self.place), str(self.place)), "shop")
        rollout = GrayState.begin(POLICY)
        gray_release = GrayRelease(
            stage="gray", deployment=DEPLOYMENT, policy=POLICY, rollout=rollout, side="green", began=self.now
        )
        return Controller(
            gray_store=gray_store,
            backend=self.ground,
            until=(HOLD, ABORTED),
            on_look=lambda _trial, _sight: None,
            on_change=lambda seen: self.told.append((seen.rollout.phase, seen.rollout.step)),
            on_unreachable=self._away,
            now=lambda: self.now + self.set_by,
            clock=lambda: self.now,
            pause=self._pass,
            wish=wish,
        ).run(gray_release)

    def _away(self) -> None:
        self.went += 1
        self.set_by = self.set_when_away

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < BEGAN + 300, "it comes to no end"


@pytest.mark.parametrize("every", [5, 7, 11])
def test_the_controller_resumes_with_the_router_and_records_each_step_once(tmp_path: Path, every: int):
    ground = Ground(away=lambda request: request % every == 0)
    desk = Desk(ground, tmp_path)
    assert desk.run().rollout.phase == HOLD
    assert desk.told == [("step", 0), ("step", 1), ("hold", 1)]


def test_what_it_was_asked_while_the_router_is_away_it_does_when_that_is_back(tmp_path: Path):
    desk = Desk(Ground(away=lambda request: request < 5), tmp_path)
    assert desk.run(OperatorRequest(what="abort", by="ann")).rollout.reason == "aborted by ann"
    assert desk.went == 1


def test_it_does_not_wait_for_ever(tmp_path: Path):
    desk = Desk(Ground(away=lambda _: True), tmp_path)
    with pytest.raises(RouterUnavailable):
        desk.run()
    assert PATIENCE < desk.now - BEGAN < PATIENCE + 5


@pytest.mark.parametrize("set_by", [3600.0, -3600.0])
def test_issue10_gray_a_clock_change_triggers_no_timeout(tmp_path: Path, set_by: float):
    desk = Desk(Ground(away=lambda request: 1 < request < 20), tmp_path, set_when_away=set_by)
    assert desk.run().rollout.phase == HOLD


def test_a_share_that_was_decided_is_lent_when_the_router_is_back(tmp_path: Path):
    ground = Ground(away=lambda request: request == 2)  # the first loan
    Desk(ground, tmp_path).run()
    assert ground.lent[0] == POLICY.steps[0]
