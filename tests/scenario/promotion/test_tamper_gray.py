"""Tampering below DEVBOX_HOME for gray stages: no write, deletion or restored file skips the gray release.

A stage runs its first release. The second one is to be tried; after every tampering, it still is, or is denied.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.shop import APP, Shop

from devbox.commands import promote as verbs
from devbox.deploy.gray import GrayTarget
from devbox.deploy.metrics import MetricScope
from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.deploy.targets.local import LocalTarget
from devbox.errors import DevboxError, UsageError
from devbox.execute.events import Sink
from devbox.gray import policy
from devbox.gray.release import GrayRelease
from devbox.gray.state import HOLD, STABLE, GrayState
from devbox.model import codec
from devbox.model.release import Release
from devbox.model.spec import Spec
from devbox.model.stage import Deployment, Stage, StageObserved
from devbox.project import Project, prepare
from devbox.records.deployed import DEPLOYED_FORMAT, StageDeployments

STRATEGY = '[stage.{0}.strategy]\nkind = "gray"\nsteps = [50]\n'
OWN = APP.replace('["test", "staging", "production"]', '["production"]') + "[stage.production]\n"
OWN += STRATEGY.format("production")
INTO = APP.replace('["test", "staging", "production"]', '["gray", "production"]')
INTO += '[stage.gray]\ninto = "production"\n' + STRATEGY.format("gray") + "[stage.production]\n"


class TrialBegan(Exception):
    """Assert that the release would be warmed up next to the running one."""


class Recorded(LocalTarget):
    """A stage without containers: its record is kept, and a release that is about to be warmed is an exception."""

    deployed: list[str]

    def deploy(self, desired: Deployment, sink: Sink, *, verify: bool = False) -> None:
        self.deployed.append(desired.release.id)
        self.record.write(StageDeployments(running=self.record.read().running, coming=desired).finish_rollout())

    def observe(self) -> StageObserved:
        running = self.record.read().running
        if running is None:
            return StageObserved()
        digests = {"web-1": running.release.image}
        return StageObserved(release=running.release.id, config=running.config_digest, healthy=True, digests=digests)

    def has_router(self) -> bool:
        raise TrialBegan


class World:
    """The project, its first release in production, its second one not yet."""

    def __init__(self, place: Path, text: str) -> None:
        self.place = place
        self.shop = Shop(place, text)
        self.deployed: list[str] = []
        self.home = Path(self.shop.opened.paths.home)
        self.one, self.two = self.shop.release(1), self.shop.release(2)
        self.stage = next(iter(prepare(self.shop.opened).stages))
        shutil.copytree(self.home, place / "early")
        for stage in prepare(self.shop.opened).stages:
            self.promote(stage, self.one)
        self.deployed.clear()
        inner = self._inner(self.shop.opened, prepare(self.shop.opened))
        self.id = inner.id
        self.project = Path(inner.paths.project(inner.id))
        self.running = inner.record.read().running

    def promote(self, stage: str, release: Release) -> verbs.PromotionResult:
        return verbs.promote(
            self.shop.opened, lambda _: None, stage=stage, release=release.id, environments=self._environment
        )

    def forge(self, known: StageDeployments) -> None:
        """This record, where an earlier version read it."""
        self.project.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": DEPLOYED_FORMAT, "deployed": codec.dump(known)})
        (self.project / "deployed.json").write_text(text)

    def forge_trial(self, phase: str) -> None:
        """A gray release of the second release, in this phase, where an earlier version read it."""
        stage = prepare(self.shop.opened).stages[self.stage]
        rules = policy.build_policy(stage.strategy, completes=self.stage == "production")
        rollout = GrayState.begin(rules).enter(phase, "all is well")
        desired = Deployment(release=self.two, stage=stage)
        gray_release = GrayRelease(
            stage=self.stage, deployment=desired, policy=rules, rollout=rollout, side="green", began=time.time()
        )
        (self.project / "trial").mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": 1, "trial": codec.dump(gray_release)})
        (self.project / "trial/trial.json").write_text(text)

    @property
    def wanted(self) -> Deployment:
        """The second release, as production would have it."""
        return Deployment(release=self.two, stage=prepare(self.shop.opened).stages["production"])

    def plain(self, project: Project, resolved: Spec, _stage: Stage) -> Recorded:
        """Production as if no traffic was shifted there."""
        return self._inner(project, resolved)

    def _environment(self, project: Project, resolved: Spec, stage: Stage) -> GrayTarget:
        return GrayTarget(
            self._inner(project, resolved),
            stage=stage,
            home=resolved.stages["production"],
            through=next(iter(resolved.stages)),
            ledger=self.shop.ledger,
            around=MetricScope(root=project.root, allowed=()),
        )

    def _inner(self, project: Project, resolved: Spec) -> Recorded:
        inner = Recorded(project, resolved.stages["production"].name)
        inner.deployed = self.deployed
        return inner


@pytest.fixture(params=[OWN, INTO], ids=["gray itself", "into production"])
def world(tmp_path: Path, home: Path, request: pytest.FixtureRequest) -> World:
    return World(tmp_path, request.param)


def put_back(world: World) -> None:
    """The stage's initial directory, and nothing else of the home."""
    shutil.rmtree(world.project, ignore_errors=True)
    early = world.place / "early" / world.project.relative_to(world.home)
    if early.exists():
        shutil.copytree(early, world.project)


def put_all_back(world: World) -> None:
    shutil.rmtree(world.home)
    shutil.copytree(world.place / "early", world.home)


TAMPERING: dict[str, Callable[[World], None]] = {
    "nothing is tampered with": lambda world: None,
    "the record says that it runs": lambda world: world.forge(StageDeployments(running=world.wanted)),
    "the record says that it ran before": lambda world: world.forge(
        StageDeployments(running=world.running, before=(world.wanted,))
    ),
    "the record says that nothing runs": lambda world: world.forge(StageDeployments()),
    "the record is deleted": lambda world: shutil.rmtree(world.project, ignore_errors=True),
    "all records of projects are deleted": lambda world: shutil.rmtree(world.home / "projects"),
    "the record is put back": put_back,
    "the home is put back": put_all_back,
    "the gray release went well": lambda world: world.forge_trial(STABLE),
    "the gray release waits for its promotion": lambda world: world.forge_trial(HOLD),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_issue10_2_no_gray_release_skips_its_steps(world: World, how: str):
    TAMPERING[how](world)
    with pytest.raises((TrialBegan, DevboxError)) as stopped:
        world.promote(world.stage, world.two)
    assert world.two.id not in world.deployed
    assert stopped.type is TrialBegan or "ledger" in str(stopped.value) or "release not found" in str(stopped.value)


def test_issue10_2_a_missing_record_is_restored_from_the_ledger(world: World):
    """As after an upgrade, where it was deleted before: what runs is compared with, and its jobs are not run again."""
    shutil.rmtree(world.shop.opened.paths.host_project(world.id))
    with pytest.raises(TrialBegan):
        world.promote(world.stage, world.two)
    assert world.deployed == [world.one.id]
    (entry,) = [each for each in world.shop.entries("production") if each.kind == "applied"]
    assert entry.release == world.one.id


def test_issue10_3_a_release_that_was_rolled_back_is_tried_when_it_is_promoted_again(world: World):
    """It got all traffic at once, as a rollback to it would."""
    opened = world.shop.opened
    for stage in prepare(opened).stages:
        verbs.promote(opened, lambda _: None, stage=stage, release=world.two.id, environments=world.plain)
    verbs.rollback(opened, lambda _: None, stage="production", environments=world.plain)
    world.deployed.clear()
    with pytest.raises((TrialBegan, UsageError), match=None if world.stage == "production" else "not found in gray"):
        world.promote("production", world.two)
    assert world.two.id not in world.deployed


@pytest.mark.parametrize("what", ["hold", "resume", "abort"])
def test_issue10_2_no_file_below_the_home_steers_a_gray_release(world: World, what: str):
    with pytest.raises(TrialBegan):
        world.promote(world.stage, world.two)
    gray_store = GrayStore(world.shop.opened.paths, world.id)
    gray_release = gray_store.read()
    assert gray_release is not None
    directory = world.project / "trial"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "wish.json").write_text(
        json.dumps(codec.dump(OperatorRequest(what=what, by="ann", began=gray_release.began)))
    )
    assert gray_store.consume_request(gray_release) is None
    gray_store.request(OperatorRequest(what=what, by="ann", began=gray_release.began))
    assert gray_store.consume_request(gray_release) == OperatorRequest(what=what, by="ann", began=gray_release.began)
