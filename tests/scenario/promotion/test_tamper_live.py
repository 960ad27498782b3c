"""Gray releases on containers while other processes write and delete files below the home; and after an upgrade."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scenario.promotion.test_gray import FILE, PATIENT, images, ledger, project, step
from support import staged
from support.load import Load
from support.machine import REPOSITORY, Box, wait_until

from devbox.deploy.haproxy import config
from devbox.deploy.router import Router
from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.ids import compute_instance_id, compute_sha256, compute_stage_id
from devbox.model.router import WHOLE, RouterState
from devbox.records.deployed import DEPLOYED_FORMAT, DeployedRecord, StageDeployments

pytestmark = pytest.mark.scenario


# Read by the interpreter at its start: the router's files lie where an earlier version had them.
_EARLIER = """\
from devbox.host.paths import Paths
from devbox.deploy import stage_containers
Paths.router = lambda paths, instance: f"{paths.project(instance)}/router"
stage_containers.build_router.__kwdefaults__["mount"] = "scratch"
"""


class Stage:
    """The stage `production` of a project in a box."""

    def __init__(self, box: Box, path: Path) -> None:
        code = "from devbox.host.paths import get_default_paths; print(get_default_paths().runtime)"
        asked = subprocess.run([sys.executable, "-c", code], env=box.environment(), capture_output=True, check=True)
        self.paths = Paths(str(box.home), asked.stdout.decode().strip(), f"{box.home}-config")
        self.id = compute_stage_id(compute_instance_id(str(path), "devbox.toml"), "production")
        self.below_home = Path(self.paths.project(self.id))
        self.router = Path(self.paths.router(self.id))
        self.earlier_router = self.below_home / "router"

    def forge(self, known: StageDeployments) -> None:
        """This record, where an earlier version read it."""
        (self.below_home / "deployed.json").write_text(
            json.dumps({"format": DEPLOYED_FORMAT, "deployed": codec.dump(known)})
        )

    def ask_below_home(self, what: str) -> None:
        """A request, where an earlier version read it."""
        (self.below_home / "trial").mkdir(exist_ok=True)
        (self.below_home / "trial/wish.json").write_text(json.dumps({"what": what, "by": "ann"}))

    def forge_router(self) -> None:
        """All traffic to the canary, in the files that an earlier version had."""
        self.earlier_router.mkdir(exist_ok=True)
        state = RouterState(share=WHOLE)
        (self.earlier_router / config.SHARE).write_text(config.render_share_map(state))
        (self.earlier_router / config.CONFIG).write_text(config.render_config(state))
        (self.earlier_router / config.SOCKET).write_text("")

    def become_earlier(self) -> None:
        """Have the files where an earlier version kept them."""
        digest = compute_sha256(Path(self.paths.gray_release(self.id), "trial.json").read_bytes())
        shutil.copytree(self.paths.host_files, self.paths.home, dirs_exist_ok=True)
        Path(self.paths.host_state, "trials").mkdir()
        Path(self.paths.host_state, "trials", self.id).write_text(digest)
        aside = f"{self.paths.host_state}/aside"
        Path(self.paths.host_files).rename(aside)  # at once: the drift monitor reads them
        shutil.rmtree(aside)


TAMPERING: dict[str, Callable[[Stage, StageDeployments], None]] = {
    "nothing runs": lambda stage, known: stage.forge(StageDeployments()),
    "it ran before": lambda stage, known: stage.forge(StageDeployments(running=known.coming, before=(known.running,))),
    "its router": lambda stage, known: stage.forge_router(),
    "deleted": lambda stage, known: [path.unlink() for path in stage.below_home.glob("*.json")],
}


def abort(box: Box, path: Path) -> None:
    """Take the gray release back, and wait for the end of its promotion."""
    assert json.loads(box.ok("release", "abort", "--json", cwd=path))["phase"] == "aborted"
    wait_until(lambda: ledger(box, path)[-1]["kind"] == "failed", what="the end of the promotion")


@pytest.mark.long
def test_issue10_2_a_tampered_home_skips_no_gray_release_and_ends_none(box: Box):
    path, address = project(box, PATIENT)
    stage = Stage(box, path)
    second = staged.built(box, path, "2")["release"]
    with Load(address, connections=4, rate=100) as load:
        box.ok("promote", "gray", "-d", cwd=path)
        known = DeployedRecord(stage.paths, stage.id).read()
        abort(box, path)
        for tamper in TAMPERING.values():
            tamper(stage, known)
            box.ok("promote", "gray", second, "-d", cwd=path)
            assert step(box, path) == 1
            for what in ("hold", "abort"):
                stage.ask_below_home(what)
            load.wait(300)
            report = json.loads(box.ok("release", "report", "--json", cwd=path))
            assert (report["phase"], report["held"]) == ("step", False)
            abort(box, path)
    assert load.failed == []
    assert len(images(box, path)) == 1


def test_issue10_2_a_stage_of_an_earlier_version_is_adopted(box: Box, tmp_path: Path):
    """Its files are adopted while it serves, and its router keeps its own: no request is lost."""
    (tmp_path / "sitecustomize.py").write_text(_EARLIER)
    earlier = replace(box, variables={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"})
    path, address = project(earlier)
    staged.built(box, path, "2")
    with Load(address, connections=6, rate=150) as load:
        earlier.ok("promote", "gray", cwd=path)
        stage = Stage(box, path)
        stage.become_earlier()
        (stage.earlier_router / config.SHARE).unlink()
        assert Router(stage.paths, stage.id).read_runtime().share > 0, "it is asked where it runs"
        Router(stage.paths, stage.id).change_stored(lambda state: state)
        assert (stage.earlier_router / config.SHARE).exists(), "and would start from its files again"
        done = box.run("promote", "production", cwd=path)
        assert b"the router of production was started by an earlier devbox" in done.stderr
        load.bodies.clear()
        load.wait(100)
        assert set(load.bodies) == {"2 info"}
        box.ok("rollback", "production", cwd=path)
        load.bodies.clear()
        load.wait(100)
        assert set(load.bodies) == {"1 info"}
    assert load.failed == []
    box.ok("down", "--stage", "production", cwd=path)
    first = next(entry["release"] for entry in ledger(box, path) if entry["kind"] == "applied")
    done = box.run("promote", "production", first, cwd=path)
    assert (done.returncode, b"an earlier devbox" in done.stderr) == (0, False)
    assert not stage.earlier_router.exists()
    assert (stage.router / config.SOCKET).is_socket()
    assert not [entry for entry in ledger(box, path) if entry["kind"] == "drifted"]


@pytest.mark.long
def test_issue10_2_a_stage_without_its_record_is_compared_with_the_ledger(box: Box):
    """Simulate the loss of the configuration directory. The router is recreated, which may lose requests."""
    path, address = project(box, FILE)
    stage = Stage(box, path)
    staged.built(box, path, "2")
    with Load(address, connections=6, rate=150) as load:
        shutil.rmtree(stage.paths.host_project(stage.id))
        box.ok("promote", "gray", cwd=path)
        assert {"1 info", "2 info"} <= set(load.bodies)
        box.ok("promote", "production", cwd=path)
        load.bodies.clear()
        load.wait(100)
        assert set(load.bodies) == {"2 info"}
    assert len(images(box, path)) == 1
