"""`doctor --clean` removes everything that devbox has created, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devbox.doctor import clean, leftovers
from devbox.doctor.checks import OK, WARNING, CheckContext
from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model.ledger import INTENT
from devbox.records.deployed import DeployedRecord, StageDeployments
from devbox.records.instance import InstanceRecords
from devbox.records.ledger import Ledger

ID = "0123456789ab"


@pytest.fixture
def gone(paths, tmp_path: Path) -> str:
    """A project that was up once, and whose directory was deleted."""
    root = str(tmp_path / "away")
    InstanceRecords(paths, ID).record_place(root, "devbox.toml")
    os.makedirs(paths.volume(ID, "data"))
    Path(paths.volume(ID, "data"), "rows").write_bytes(b"x" * 50_000)
    return root


def test_nothing_is_left_over_where_nothing_was(paths):
    (found,) = leftovers.check_leftovers(CheckContext(paths))
    assert found.state == OK
    assert clean.list_everything(paths) == []
    assert clean.list_orphans(paths) == []


def test_a_project_that_is_gone_is_reported_with_its_size_and_pruned(paths, gone):
    (found,) = leftovers.check_leftovers(CheckContext(paths))
    assert found.state == WARNING
    assert gone in found.sentence
    assert "kB" in found.sentence
    assert found.remedy == "devbox doctor --prune"
    (item,) = clean.list_orphans(paths)
    assert item.size >= 50_000
    clean.prune(paths)
    assert clean.list_orphans(paths) == []
    assert not os.path.exists(paths.volumes(ID))


def test_a_project_that_is_there_is_no_orphan(paths, gone):
    os.makedirs(gone)
    Path(gone, "devbox.toml").touch()
    assert clean.list_orphans(paths) == []
    clean.prune(paths)
    assert os.path.exists(paths.volume(ID, "data"))


def test_the_data_of_a_branch_that_is_gone_is_reported_and_pruned(paths, tmp_path: Path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "devbox.toml").touch()
    git(root, "init", "-b", "main")
    git(root, "commit", "--allow-empty", "-m", "first")
    git(root, "branch", "feat/x")
    InstanceRecords(paths, ID).record_place(str(root), "devbox.toml")
    for volume in ("db.data", "db.data@main", "db.data@feat%2Fx", "db.data@gone%2Fy"):
        os.makedirs(paths.volume(ID, volume))
    (found,) = leftovers.check_leftovers(CheckContext(paths))
    assert "db.data@gone%2Fy" in found.sentence
    assert [item.paths for item in clean.list_orphans(paths)] == [(paths.volume(ID, "db.data@gone%2Fy"),)]
    clean.prune(paths)
    assert sorted(os.listdir(paths.volumes(ID))) == ["db.data", "db.data@feat%2Fx", "db.data@main"]
    (root / ".git/HEAD").write_text("broken")
    assert clean.list_orphans(paths) == [], "what git does not know is nobody's guess"


def git(root: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


def test_clean_removes_only_devbox_s_own_files(paths, gone):
    Path(paths.home, "thesis.tex").write_text("mine")
    for path in paths.describe_contents():
        if not path.endswith(".json"):
            os.makedirs(path, exist_ok=True)
    clean.clean(paths)
    assert os.listdir(paths.home) == ["thesis.tex"]


def test_clean_takes_the_home_away_when_nothing_else_is_in_it(paths, gone):
    clean.clean(paths)
    assert not os.path.exists(paths.home)


def test_everything_that_paths_makes_below_the_home_is_known_to_clean(paths):
    made = [
        paths.oci,
        paths.snapshots,
        paths.steps,
        paths.tmp,
        paths.partial_blobs,
        paths.buildah,
        paths.idmap,
        paths.named_images,
        paths.lock("x"),
        paths.project("x"),
        paths.moved_project("x"),
        paths.ledger("x"),
        paths.keys,
    ]
    made += [paths.volumes("x"), paths.volume_snapshots("x"), f"{paths.home}/cache", f"{paths.home}/logs"]
    made += [f"{paths.home}/installed"]  # of an earlier version
    assert {os.path.relpath(path, paths.home).split("/")[0] for path in made} == {
        os.path.basename(path) for path in paths.describe_contents()
    }


def test_the_files_of_a_project_in_use_are_not_removed(paths, gone):
    with files.lock_file(paths.lock(ID)), pytest.raises(DevboxError, match=f"pid {os.getpid()}") as error:
        clean.clean(paths)
    assert error.value.remedy
    assert os.path.exists(paths.volume(ID, "data"))


def test_a_damaged_record_keeps_nothing_from_being_cleaned(paths, gone):
    Path(paths.project(ID), "place.json").write_text("{")
    assert clean.list_everything(paths)
    clean.clean(paths)
    assert not os.path.exists(paths.home)


def stage(paths, root: str) -> InstanceRecords:
    """A deployed, protected stage with data whose env file was deleted."""
    records = InstanceRecords(paths, ID)
    records.record_place(root, "devbox.toml", stage="production", protected=True)
    DeployedRecord(paths, ID).write(StageDeployments())
    os.makedirs(paths.volume(ID, "data"))
    return records


def test_issue9_a4_a_stage_with_data_is_kept_without_the_record_of_what_was_deployed(paths, tmp_path: Path):
    stage(paths, str(tmp_path / "away"))
    os.unlink(paths.stage_deployments(ID))
    assert clean.list_orphans(paths) == []
    clean.prune(paths)
    assert os.path.isdir(paths.volume(ID, "data"))


@pytest.mark.parametrize("text", ["{", None])
def test_issue9_a4_a_stage_whose_place_is_lost_stays_protected(paths, tmp_path: Path, text: str | None):
    """The remedy for a damaged record is to remove it."""
    records = stage(paths, str(tmp_path / "away"))
    place = Path(paths.project(ID), "place.json")
    if text:
        place.write_text(text)
    else:
        place.unlink()
    assert records.is_protected()
    assert [each.id for each in clean.list_protected(paths)] == [ID]


def test_what_this_host_remembers_of_a_home_goes_with_it_and_the_key_with_the_last(paths, tmp_path: Path):
    other = Paths(str(tmp_path / "other"), paths.runtime)
    for each in (paths, other):
        Ledger(each, ID).append(INTENT, body={})
    assert any("release records of this host" in item.what for item in clean.list_everything(paths))
    clean.clean(paths)
    assert os.path.exists(f"{paths.config}/host.key")
    assert len(Ledger(other, ID).read_entries()) == 1
    clean.clean(other)
    assert not os.path.exists(paths.config)
