"""Gray releases on containers while files below the home are written and deleted by others; and after an upgrade."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from promotion.test_gray import FILE, PATIENT, images, ledger, project, step
from support import staged
from support.load import Load
from support.machine import Box, wait_until

from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.ids import instance_id, sha256, stage_id
from devbox.records.deployed import FORMAT, Deployed, DeployedRecord

pytestmark = pytest.mark.scenario


class Stage:
    """The stage `production` of a project in a box."""

    def __init__(self, box: Box, path: Path) -> None:
        self.paths = Paths(str(box.home), str(box.home), f"{box.home}-config")
        self.id = stage_id(instance_id(str(path), "devbox.toml"), "production")
        self.below_home = Path(self.paths.project(self.id))

    def forge(self, known: Deployed) -> None:
        """This record, where an earlier version read it."""
        (self.below_home / "deployed.json").write_text(json.dumps({"format": FORMAT, "deployed": codec.dump(known)}))

    def ask_below_home(self, what: str) -> None:
        """A request, where an earlier version read it."""
        (self.below_home / "trial").mkdir(exist_ok=True)
        (self.below_home / "trial/wish.json").write_text(json.dumps({"what": what, "by": "ann"}))

    def become_earlier(self) -> None:
        """Have the files where an earlier version kept them."""
        digest = sha256(Path(self.paths.trial(self.id), "trial.json").read_bytes())
        shutil.copytree(self.paths.host_files, self.paths.home, dirs_exist_ok=True)
        Path(self.paths.host_state, "trials").mkdir()
        Path(self.paths.host_state, "trials", self.id).write_text(digest)
        aside = f"{self.paths.host_state}/aside"
        Path(self.paths.host_files).rename(aside)  # at once: the drift monitor reads them
        shutil.rmtree(aside)


TAMPERING: dict[str, Callable[[Stage, Deployed], None]] = {
    "nothing runs": lambda stage, known: stage.forge(Deployed()),
    "it ran before": lambda stage, known: stage.forge(Deployed(running=known.coming, before=(known.running,))),
    "deleted": lambda stage, known: [path.unlink() for path in stage.below_home.glob("*.json")],
}


def abort(box: Box, path: Path) -> None:
    """Take the gray release back, and wait for the end of its promotion."""
    assert json.loads(box.ok("release", "abort", "--json", cwd=path))["phase"] == "aborted"
    wait_until(lambda: ledger(box, path)[-1]["kind"] == "failed", what="the end of the promotion")


@pytest.mark.long
def test_issue10_2_a_tampered_home_skips_no_trial_and_ends_none(box: Box):
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


def test_issue10_2_a_stage_of_an_earlier_version_goes_on(box: Box):
    """Its files are taken over while it serves, and no request is lost."""
    path, address = project(box)
    staged.built(box, path, "2")
    with Load(address, connections=6, rate=150) as load:
        box.ok("promote", "gray", cwd=path)
        Stage(box, path).become_earlier()
        box.ok("promote", "production", cwd=path)
        load.bodies.clear()
        load.wait(100)
        assert set(load.bodies) == {"2 info"}
        box.ok("rollback", "production", cwd=path)
        load.bodies.clear()
        load.wait(100)
        assert set(load.bodies) == {"1 info"}
    assert load.failed == []
    assert not [entry for entry in ledger(box, path) if entry["kind"] == "drifted"]


@pytest.mark.long
def test_issue10_2_a_stage_whose_record_is_gone_is_compared_with_what_the_ledger_has(box: Box):
    """As when files of the configuration directory were lost. The router is made again, which may lose requests."""
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
