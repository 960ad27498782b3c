"""A request to hold, resume or abort applies only to the gray release that the user saw."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gray.rig import DEPLOYMENT, POLICY

from devbox.commands import gray_releases as verbs
from devbox.deploy.gray import GrayTarget
from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.errors import UsageError
from devbox.gray.release import GrayRelease
from devbox.gray.state import ABORTED, HOLD, STEP, GrayState
from devbox.host.paths import Paths
from devbox.model.router import GREEN
from devbox.model.stage import Stage, StageObserved
from devbox.records.deployed import DeployedRecord
from devbox.records.ledger import Ledger


@dataclass
class Inner:
    """The environment of a stage in which nothing runs."""

    paths: Paths
    id: str = "production"
    router: object = None
    record: DeployedRecord = field(init=False)

    def __post_init__(self) -> None:
        self.record = DeployedRecord(self.paths, self.id)

    def observe(self) -> StageObserved:
        return StageObserved()

    def has_router(self) -> bool:
        return False


def trial(*, began: float) -> GrayRelease:
    rollout = GrayState.begin(POLICY).enter(STEP, "healthy", step=0)
    return GrayRelease(stage="gray", deployment=DEPLOYMENT, policy=POLICY, rollout=rollout, side=GREEN, began=began)


@pytest.fixture
def environment(tmp_path: Path) -> GrayTarget:
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config"))
    stage = Stage(name="production", order=0)
    return GrayTarget(Inner(paths), stage=stage, home=stage, through="gray", ledger=Ledger(paths, "shop"), around=None)


def test_issue10_gray_a_request_holds_its_own_gray_release(environment: GrayTarget):
    now = trial(began=time.time())
    environment.gray_store.write(now)
    assert environment.steer(OperatorRequest(what="hold", by="me", began=now.began - 1)) is None
    assert not environment.gray_store.read().rollout.held
    held = environment.steer(OperatorRequest(what="hold", by="me", began=now.began))
    assert held is not None
    assert held.rollout.held
    assert environment.gray_store.read() == held
    assert not environment.steer(OperatorRequest(what="resume", by="me")).rollout.held, "0: any"


def test_issue10_gray_a_release_that_waits_is_not_healthy_where_its_stage_was_stopped(tmp_path: Path):
    """The router was asked, which does not answer then, and every command failed."""
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config"))
    gray, home = Stage(name="gray", order=0), Stage(name="production", order=1)
    environment = GrayTarget(
        Inner(paths), stage=gray, home=home, through="gray", ledger=Ledger(paths, "shop"), around=None
    )
    waiting = trial(began=time.time())
    environment.gray_store.write(replace(waiting, rollout=waiting.rollout.enter(HOLD, "passed")))
    seen = environment.observe()
    assert (seen.release, seen.healthy) == (DEPLOYMENT.release.id, False)


def test_issue10_gray_a_request_aborts_no_other_gray_release(environment: GrayTarget):
    now = trial(began=time.time())
    environment.gray_store.write(now)
    with pytest.raises(UsageError, match="no gray release is in progress"):
        environment.abort(lambda _: None, by="me", began=now.began - 1)
    assert environment.gray_store.read() == now


def test_issue10_gray_a_request_is_not_answered_by_another_gray_release(tmp_path: Path):
    gray_store = GrayStore(Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config")), "production")
    environment: Any = SimpleNamespace(gray_store=gray_store)
    project: Any = None
    before, wish = trial(began=1.0), OperatorRequest(what="abort", by="ann", began=1.0)
    over = replace(trial(began=2.0), rollout=before.rollout.enter(ABORTED, "it was bad"))
    for now in (over, trial(began=2.0)):
        gray_store.write(now)
        with pytest.raises(UsageError, match="another one has started"):
            verbs._await_done(project, environment, before, wish, deadline=time.monotonic() + 5)
    gray_store.write(replace(over, began=1.0))
    done = verbs._await_done(project, environment, before, wish, deadline=time.monotonic() + 5)
    assert done is not None
    assert done.is_over
