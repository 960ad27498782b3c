"""A gray release on a real HAProxy under real traffic: the good goes up, the bad goes back, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gray.routers import KEY, Router, ask, routed

from devbox.execute.controller import Controller, completing
from devbox.execute.ground import RoutedGround
from devbox.execute.trials import Trials, Wish
from devbox.gray.policy import Policy, Watch
from devbox.gray.rollout import ABORTED, HOLD, NEEDS_HUMAN, STABLE, Rollout
from devbox.gray.trial import Trial
from devbox.host.paths import Paths
from devbox.model.release import Release, ReleaseConfig
from devbox.model.stage import Deployment, Stage
from devbox.routing import config
from devbox.routing.cohort import Cohort
from devbox.routing.state import GREEN

POLICY = Policy(
    steps=(500, 2000, 5000),
    min_time=0.5,
    min_requests=30,
    timeout=60,
    bake=1,
    margin=0.1,
    watches=(Watch(name="errors", alpha=0.005), Watch(name="latency", alpha=0.005)),
)
USUAL = "http-request lua.normal"
ENDS = (HOLD, STABLE, ABORTED)
DEPLOYMENT = Deployment(
    release=Release(id="sha256:new", image="sha256:1", config=ReleaseConfig(processes={}), source="", created_at=""),
    stage=Stage(name="production", order=0),
)


class Rig:
    """A router, visitors, and a controller with the trial it keeps."""

    def __init__(self, router: Router, home: Path, policy: Policy = POLICY) -> None:
        self.router, self.policy = router, policy
        self.trials = Trials(Paths(str(home), str(home)), "shop")
        self.trials.write(
            Trial(
                stage="gray",
                deployment=DEPLOYMENT,
                policy=policy,
                rollout=Rollout.begin(policy),
                side=GREEN,
                began=time.time(),
            )
        )
        self.restarts = 0
        self.shares: list[int] = []
        self.answers: Counter[int] = Counter()

    def controller(self, **more: object) -> Controller:
        ground = RoutedGround(
            runtime=self.router.runtime,
            canary=GREEN,
            processes=("web",),
            keep=self._keep,
            restarts=lambda: self.restarts,
        )
        return Controller(
            trials=self.trials,
            ground=ground,
            until=ENDS,
            on_look=lambda trial, sight: self.shares.append(sight.threshold),
            on_change=lambda trial: None,
            tick=0.1,
            **more,
        )

    def _keep(self, share: int) -> None:
        state = replace(self.router.state, share=share)
        (self.router.directory / config.SHARE).write_text(config.share(state))

    def run(self, **more: object) -> Trial:
        trial = self.trials.read()
        assert trial is not None
        return self.controller(**more).run(trial)

    @contextlib.contextmanager
    def traffic(self, *, visitors: int = 3, headers: tuple[dict[str, str], ...] = ({},)) -> Iterator[None]:
        """People who come all the time; every answer is counted by its status."""
        over = threading.Event()

        def visit() -> None:
            while not over.is_set():
                self.answers.update(answer.status for answer in ask(self.router.port, list(headers) * 20))

        threads = [threading.Thread(target=visit) for _ in range(visitors)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def rigged(place: Path, *, faults: str = "", policy: Policy = POLICY) -> Iterator[Rig]:
    router = place / "router"
    router.mkdir(mode=0o755)
    place.chmod(0o755)
    both = {"blue": USUAL, "green": f"{faults}\n    {USUAL}" if faults != "slow" else "http-request lua.slow"}
    with routed(router, cohort=Cohort(key=KEY), faults=both) as running:
        yield Rig(running, place, policy)


def test_a_good_release_goes_up_and_stays(tmp_path: Path):
    with rigged(tmp_path) as rig:
        with rig.traffic():
            trial = rig.run()
            assert trial.rollout.phase == HOLD, trial.rollout.reason
            rig.trials.write(completing(trial))
            trial = rig.run(wish=Wish(what="complete", by="ann"))
        assert trial.rollout.phase == STABLE
    assert [change.phase for change in trial.changes] == ["step", "step", "step", "hold", "bake", "stable"]
    assert rig.shares == sorted(rig.shares)
    assert set(rig.answers) == {200}
    assert trial.lost == 0
    assert trial.canary.requests > 100


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ("http-request return status 500 if { rand(100) lt 5 }", "errors"),
        pytest.param("slow", "latency", marks=pytest.mark.long),
        pytest.param(
            "http-request return status 500 if { req.hdr(X-Client) mobile } { rand(100) lt 30 }",
            "errors",
            marks=pytest.mark.long,
        ),
    ],
    ids=["5 % errors", "3 times as slow", "errors of one cohort only"],
)
def test_a_bad_release_goes_back(tmp_path: Path, faults: str, why: str):
    clients = ({"X-Client": "mobile"}, {"X-Client": "desktop"}, {"X-Client": "desktop"})
    with rigged(tmp_path, faults=faults, policy=replace(POLICY, min_requests=10_000)) as rig:
        with rig.traffic(headers=clients):
            trial = rig.run()
        assert trial.rollout.phase == ABORTED
        assert trial.rollout.reason.startswith(why)
        assert {answer.body for answer in ask(rig.router.port, [{}] * 50)} == {"blue"}
        assert (rig.router.directory / config.SHARE).read_text().startswith("green 0\n")
    assert trial.lost == 0


@pytest.mark.long
def test_a_canary_that_is_killed_loses_nobody_and_is_taken_back(tmp_path: Path):
    with rigged(tmp_path, policy=replace(POLICY, min_requests=10_000)) as rig:
        with rig.traffic():
            threading.Timer(1.5, rig.router.services[GREEN].kill).start()
            trial = rig.run()
        assert trial.rollout.phase == ABORTED
        assert set(rig.answers) == {200}


@pytest.mark.long
def test_a_crash_loop_is_taken_back(tmp_path: Path):
    with rigged(tmp_path, policy=replace(POLICY, min_requests=10_000)) as rig, rig.traffic():
        rig.restarts = 3
        assert rig.run().rollout.reason == "the canary crashed 3 times"


@pytest.mark.long
def test_without_traffic_it_holds_and_then_wants_a_human(tmp_path: Path):
    policy = replace(POLICY, timeout=2, watches=POLICY.watches[:1])
    with rigged(tmp_path, policy=policy) as rig:
        threading.Timer(6, lambda: rig.trials.ask(Wish(what="abort", by="ann"))).start()
        trial = rig.run()
    assert [change.phase for change in trial.changes] == ["step", NEEDS_HUMAN, "aborting", ABORTED]
    assert max(rig.shares) == POLICY.steps[0]


@pytest.mark.long
def test_who_comes_after_a_killed_controller_goes_on_from_what_was_kept(tmp_path: Path):
    with rigged(tmp_path) as rig, rig.traffic():
        looks = []

        def killed(_seconds: float) -> None:
            looks.append(rig.trials.read())
            if looks[-1].rollout.step == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rig.run(pause=killed)
        kept = rig.trials.read()
        assert kept is not None
        assert (kept.rollout.phase, kept.rollout.step) == ("step", 1)
        assert rig.run().rollout.phase == HOLD
    assert max(rig.shares) <= POLICY.steps[-1]
