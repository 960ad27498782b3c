"""Current and former deployments of a stage: complete, each release once, newest first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.deployments import deployment

from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.model.router import Frontend, RouterState, Server
from devbox.records.deployed import DeployedRecord, StageDeployments

ONE, TWO, THREE = deployment("1"), deployment("2"), deployment("3")


def place(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def record(tmp_path: Path) -> DeployedRecord:
    return DeployedRecord(place(tmp_path), "0" * 12)


def run(*deployments):
    known = StageDeployments()
    for each in deployments:
        known = replace(known, coming=each).finish_rollout()
    return known


def test_nothing_is_known_of_a_stage_in_which_nothing_ran(tmp_path):
    assert record(tmp_path).read() == StageDeployments()


def test_what_is_kept_is_read_again(tmp_path):
    server = Server(name="web-1-aaaa", address="10.213.0.5", port=8000, check="/healthz")
    known = replace(run(ONE, TWO), router=RouterState(fronts=(Frontend(process="web", port=8000, green=(server,)),)))
    record(tmp_path).write(known)
    assert record(tmp_path).read() == known
    assert Path(place(tmp_path).stage_deployments("0" * 12)).stat().st_mode & 0o777 == 0o600


def test_what_ran_before_is_there_once_the_newest_first():
    known = run(ONE, TWO, ONE, THREE)
    assert (known.running, known.before) == (THREE, (ONE, TWO))
    assert known.all_deployments == (THREE, ONE, TWO)


def test_the_same_release_again_changes_nothing():
    assert run(ONE, ONE) == run(ONE)


def test_one_release_under_two_configs_is_two_deployments():
    other = deployment("1", env={"LEVEL": "debug"})
    assert run(ONE, other).before == (ONE,)


def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path):
    record(tmp_path).write(run(ONE))
    path = Path(place(tmp_path).stage_deployments("0" * 12))
    path.write_text("{")
    with pytest.raises(DevboxError) as error:
        record(tmp_path).read()
    assert error.value.remedy == f"remove it: rm {path}"
