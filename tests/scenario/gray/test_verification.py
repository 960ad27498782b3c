"""Verification of a release through a real router that is killed during the observation."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from gray.routers import wait_for
from scenario.gray.test_drain import Stage, stage

from devbox.deploy.verification import COMING, UNREACHED, WELL, Observation, Verification
from devbox.errors import VerifyFailed
from devbox.model.observed import ObservedContainer
from devbox.model.traffic import Side

__all__ = ["stage"]


class Engine:
    """A fake runtime, by which the release is healthy by default."""

    def __init__(self) -> None:
        self.state = "running"

    def observe(self, _instance: object) -> SimpleNamespace:
        new = ObservedContainer(
            name="web-1-new",
            role="run",
            state=self.state,
            health="none",
            image="",
            digest="",
            pid=None,
            spec_key="",
            image_key="",
        )
        return SimpleNamespace(containers={new.name: new})


def verification(stage: Stage, engine: Engine) -> Verification:
    return Verification(
        engine=engine, instance=SimpleNamespace(stage="staging"), router=stage.router, names=["web-1-new"]
    )


def visit(stage: Stage, *, good: int = 0, bad: int = 0) -> None:
    """Requests, some of which fail."""
    for path in ("0",) * good + ("fails",) * bad:
        with (
            contextlib.suppress(urllib.error.HTTPError),
            urllib.request.urlopen(f"http://127.0.0.1:{stage.port}/{path}", timeout=10) as answer,
        ):
            answer.read()


def test_issue10_verify_adds_up_what_the_routers_have_counted(stage: Stage):
    visit(stage, good=40)
    seen = verification(stage, Engine())
    before = seen.read_traffic()
    assert before == Side(requests=40)
    stage.switch()
    observation = Observation(seen._observe(), at=0, before=before)
    visit(stage, good=7, bad=8)
    assert observation.update(seen._observe(), at=1) == "", "too few to say anything"
    stage.replace_router()
    after = seen._observe()
    assert observation.update(after, at=2) == ""
    assert (after.traffic, after.conditions) == (Side(), {"web-1-new": WELL})
    visit(stage, good=15)
    assert observation.update(seen._observe(), at=3) == "26.7% of 30 requests failed (0.0% of 40 before)"


def test_issue10_verify_sees_what_a_release_is_like(stage: Stage):
    engine = Engine()
    seen = verification(stage, engine)
    assert seen._observe().conditions == {"web-1-new": WELL}
    engine.state = "restarting"
    assert seen._observe().conditions == {"web-1-new": COMING}
    engine.state = "running"
    stage.services["new"].shutdown()
    stage.services["new"].server_close()
    wait_for(lambda: seen._observe().conditions == {"web-1-new": UNREACHED}, Path(stage.router.directory))


def test_issue10_verify_ends_as_soon_as_the_release_is_not_well(stage: Stage):
    stage.switch()
    seen = verification(stage, Engine())
    stage.services["new"].shutdown()
    stage.services["new"].server_close()
    with pytest.raises(VerifyFailed, match="web-1-new failed the health check"):
        seen.run(60, before=Side(), on_text=lambda _: None)
