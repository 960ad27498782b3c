"""A gray release on a real HAProxy under traffic: good ones succeed, bad ones abort, despite killed processes."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from gray.rig import POLICY, rigged
from gray.routers import ask

from devbox.deploy.controller import allow_completion
from devbox.deploy.haproxy import config
from devbox.deploy.records import OperatorRequest
from devbox.gray.decide import compute_traffic
from devbox.gray.release import GrayRelease
from devbox.gray.state import ABORTED, HOLD, NEEDS_HUMAN, STABLE
from devbox.model.router import GREEN


def test_a_good_release_is_promoted_and_stays(tmp_path: Path):
    with rigged(tmp_path) as rig:
        with rig.traffic():
            gray_release = rig.run()
            assert gray_release.rollout.phase == HOLD, gray_release.rollout.reason
            rig.trials.write(allow_completion(gray_release))
            gray_release = rig.run(wish=OperatorRequest(what="complete", by="ann"))
        assert gray_release.rollout.phase == STABLE
    assert [change.phase for change in gray_release.changes] == ["step", "step", "step", "hold", "bake", "stable"]
    assert rig.shares == sorted(rig.shares)
    assert set(rig.answers) == {200}
    assert gray_release.lost_requests == 0
    assert gray_release.canary.requests > 100


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
def test_a_bad_release_is_rolled_back(tmp_path: Path, faults: str, why: str):
    clients = ({"X-Client": "mobile"}, {"X-Client": "desktop"}, {"X-Client": "desktop"})
    with rigged(tmp_path, faults=faults, policy=replace(POLICY, min_requests=10_000)) as rig:
        with rig.traffic(headers=clients):
            gray_release = rig.run()
        assert gray_release.rollout.phase == ABORTED
        assert gray_release.rollout.reason.startswith(why)
        assert {answer.body for answer in ask(rig.router.port, [{}] * 50)} == {"blue"}
        assert (rig.router.directory / config.SHARE).read_text().startswith("green 0\n")
    assert gray_release.lost_requests == 0


@pytest.mark.long
def test_a_killed_canary_loses_no_request_and_is_rolled_back(tmp_path: Path):
    with rigged(tmp_path, policy=replace(POLICY, min_requests=10_000)) as rig:
        with rig.traffic():
            threading.Timer(1.5, rig.router.services[GREEN].kill).start()
            gray_release = rig.run()
        assert gray_release.rollout.phase == ABORTED
        assert set(rig.answers) == {200}


@pytest.mark.long
def test_a_crash_loop_is_rolled_back(tmp_path: Path):
    with rigged(tmp_path, policy=replace(POLICY, min_requests=10_000)) as rig, rig.traffic():
        rig.restarts = 3
        assert rig.run().rollout.reason == "the canary crashed 3 times"


@pytest.mark.long
def test_without_traffic_a_release_holds_and_then_requires_an_operator(tmp_path: Path):
    policy = replace(POLICY, timeout=2, watches=POLICY.watches[:1])
    with rigged(tmp_path, policy=policy) as rig:
        threading.Timer(6, lambda: rig.trials.request(OperatorRequest(what="abort", by="ann"))).start()
        gray_release = rig.run()
    assert [change.phase for change in gray_release.changes] == ["step", NEEDS_HUMAN, "aborting", ABORTED]
    assert max(rig.shares) == POLICY.steps[0]


@pytest.mark.long
def test_the_next_controller_resumes_from_the_stored_state(tmp_path: Path):
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


def test_a_promotion_killed_at_every_step_succeeds_without_losses(tmp_path: Path):
    """The weight never exceeds the recorded one, even after a kill between recording and applying it."""
    with rigged(tmp_path) as rig, rig.traffic():
        kills, shares = 0, []

        def killed(gray_release: GrayRelease) -> None:
            shares.append(
                (rig.router.seen().share, compute_traffic(gray_release.rollout, gray_release.policy).threshold)
            )
            raise KeyboardInterrupt

        for _ in range(len(POLICY.steps) + 2):
            try:
                gray_release = rig.run(on_change=killed)
            except KeyboardInterrupt:
                kills += 1
        assert gray_release.rollout.phase == HOLD
        assert kills == len(POLICY.steps) + 1
    assert all(share <= granted for share, granted in shares)
    assert set(rig.answers) == {200}
