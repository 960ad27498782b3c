"""A stage's containers compared with its deployment: drift, no drift, and undecidable cases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.deployments import deployment

from devbox.deploy import drift, stage_containers
from devbox.engines.engine import InstanceView
from devbox.errors import EngineError
from devbox.host.paths import Paths
from devbox.model.observed import ObservedContainer
from devbox.model.router import Frontend, RouterState, Server
from devbox.model.spec import Instance
from devbox.records.deployed import DeployedRecord, StageDeployments

STAGE = Instance(id="0" * 12, name="shop/test", root="", env_file="", owner=0, group=0, stage="test")
ONE, OTHER = deployment("1"), deployment("2")
IMAGE = ONE.release.image
NAME = f"web-1-{stage_containers.compute_mark(ONE)}"


class Looked:
    """A fake engine: each observation takes the next of `answers`; the last one repeats."""

    def __init__(self, *answers: str | EngineError, state: str = "running", name: str = NAME) -> None:
        self._answers = list(answers)
        image = stage_containers.format_image_name(name.rpartition("-")[2])
        facts = {"digest": IMAGE, "pid": 1, "spec_key": "", "image_key": ""}
        self._seen = ObservedContainer(name=name, role="image", image=image, state=state, health="healthy", **facts)

    def observe(self, _: Instance) -> InstanceView:
        return InstanceView(supervised=True, standing=True, containers={self._seen.name: self._seen}, volumes=())

    def verify_image(self, _instance: Instance, _name: str) -> str:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, EngineError):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_MOMENT", 0.0)


@pytest.fixture
def record(tmp_path: Path) -> DeployedRecord:
    made = DeployedRecord(Paths(str(tmp_path / "home"), str(tmp_path / "run")), STAGE.id)
    made.write(StageDeployments(running=ONE))
    return made


def test_the_deployed_state_is_not_a_drift(record):
    assert drift.find(STAGE, Looked(IMAGE), record) == ()


def test_what_runs_something_else_is(record):
    (found,) = drift.find(STAGE, Looked("sha256:else"), record)
    assert (found.container, found.found, found.desired, found.doubt) == (NAME, "sha256:else", IMAGE, "")
    assert found.sentence == f"{NAME} runs sha256:else, but {IMAGE} was deployed"


def test_what_is_of_no_release_of_this_stage_is(record):
    (found,) = drift.find(STAGE, Looked(IMAGE, name=f"web-1-{stage_containers.compute_mark(OTHER)}"), record)
    assert found.sentence.endswith("does not belong to a deployed release")


def test_a_drift_seen_in_only_one_of_two_observations_does_not_count(record):
    assert drift.find(STAGE, Looked("", IMAGE), record) == ()


def test_a_container_that_does_not_run_is_not_a_drift(record):
    assert drift.find(STAGE, Looked("", state="exited"), record) == ()


def test_what_the_store_cannot_tell_is_doubt_and_is_not_shut_out(record):
    found = drift.find(STAGE, Looked(EngineError("the index was changed", remedy="devbox image verify")), record)
    assert [each.sentence for each in found] == ["the index was changed"]
    server = Server(name=NAME, address="10.213.0.5", port=8000)
    router = SimpleNamespace(state=RouterState(fronts=(Frontend(process="web", port=8000, blue=(server,)),)))
    assert drift.shut_out(found, router) == frozenset()
