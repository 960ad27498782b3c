"""Whose images are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.deployments import deployment

from devbox import inventory
from devbox.doctor.projects import known
from devbox.host.paths import Paths
from devbox.model.ids import stage_id
from devbox.records.deployed import Deployed, DeployedRecord
from devbox.records.instance import InstanceRecords


def stage(tmp_path: Path) -> tuple[Paths, str]:
    """A stage in which a release runs, and another ran before it."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "devbox.toml").write_text("")
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    key = stage_id("0" * 12, "staging")
    InstanceRecords(paths, key).remember_place(str(root), "devbox.toml", stage="staging")
    before, now = deployment("1"), deployment("2")
    now = replace(now, release=replace(now.release, image=f"sha256:{'b' * 64}"))
    DeployedRecord(paths, key).write(Deployed(running=now, before=(before,)))
    return paths, key


def test_what_a_stage_runs_or_could_go_back_to_is_kept(tmp_path):
    paths, _ = stage(tmp_path)
    assert inventory.look(paths).all().digests == {f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"}


def test_a_stage_is_known_by_its_project_and_its_name(tmp_path):
    paths, key = stage(tmp_path)
    (one,) = known(paths)
    assert (one.id, one.label) == (key, f"{tmp_path}/shop (staging)")
    assert (one.up, one.down) == (
        f"devbox -C {tmp_path}/shop promote staging",
        f"devbox -C {tmp_path}/shop down --stage staging",
    )


def test_of_a_project_that_is_gone_nothing_is_kept(tmp_path):
    paths, _ = stage(tmp_path)
    (tmp_path / "shop/devbox.toml").unlink()
    assert inventory.look(paths).all().digests == frozenset()
