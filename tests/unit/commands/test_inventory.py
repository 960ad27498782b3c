"""Which images are kept: those of stages, Dockerfiles and builds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.deployments import deployment

from devbox.commands import inventory
from devbox.doctor.leftovers import list_instances
from devbox.execute import outputs
from devbox.host.paths import Paths
from devbox.images.store.step_cache import StepCache
from devbox.model import release
from devbox.model.ids import compute_instance_id, compute_stage_id
from devbox.model.image import BakedImage, ImageConfig, key_image
from devbox.model.spec import Lockfile
from devbox.project import LockPolicy, open_project, prepare
from devbox.records import lockfile
from devbox.records.deployed import DeployedRecord, StageDeployments
from devbox.records.instance import InstanceRecords


def stage(tmp_path: Path) -> tuple[Paths, str]:
    """A stage in which a release runs, and another ran before it."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "devbox.toml").write_text("")
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    key = compute_stage_id("0" * 12, "staging")
    InstanceRecords(paths, key).record_place(str(root), "devbox.toml", stage="staging")
    before, now = deployment("1"), deployment("2")
    now = replace(now, release=replace(now.release, image=f"sha256:{'b' * 64}"))
    DeployedRecord(paths, key).write(StageDeployments(running=now, before=(before,)))
    return paths, key


def test_current_and_rollback_releases_of_a_stage_are_kept(tmp_path):
    paths, _ = stage(tmp_path)
    assert inventory.collect_inventory(paths).merge_roots().digests == {f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"}


def test_a_stage_is_known_by_its_project_and_its_name(tmp_path):
    paths, key = stage(tmp_path)
    (one,) = list_instances(paths)
    assert (one.id, one.label) == (key, f"{tmp_path}/shop (staging)")
    assert (one.up_command, one.down_command) == (
        f"devbox -C {tmp_path}/shop promote staging",
        f"devbox -C {tmp_path}/shop down --stage staging",
    )


def test_issue9_a4_the_images_of_a_deployed_stage_are_kept_without_its_env_file(tmp_path):
    paths, _ = stage(tmp_path)
    (tmp_path / "shop/devbox.toml").unlink()
    assert inventory.collect_inventory(paths).merge_roots().digests == {f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"}


def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[Paths, Path]:
    """A project that devbox knows."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "devbox.toml").write_text(text)
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    monkeypatch.setenv("DEVBOX_HOME", paths.home)
    monkeypatch.setenv("DEVBOX_RUNTIME_DIR", paths.runtime)
    InstanceRecords(paths, compute_instance_id(str(root), "devbox.toml")).record_place(str(root), "devbox.toml")
    return paths, root


def test_what_a_dockerfile_begins_with_is_kept(tmp_path, monkeypatch):
    paths, root = project(tmp_path, monkeypatch, '[dev]\ndockerfile = "Dockerfile"\n')
    (root / "Dockerfile").write_text("FROM debian:13 AS first\nFROM debian:12\nCOPY --from=first /etc/hostname /\n")
    pins = {"debian:13": f"sha256:{'a' * 64}", "debian:12": f"sha256:{'b' * 64}"}
    lock = Lockfile(images={"dev": {"dockerfile Dockerfile": pins}})
    lockfile.write(lockfile.get_path(str(root), "devbox.toml"), lock, env_file="devbox.toml")
    found = inventory.collect_inventory(paths)
    assert found.notes == ()
    assert found.merge_roots().digests == set(pins.values())


def test_what_a_build_has_put_out_is_kept(tmp_path, monkeypatch):
    text = '[build]\nimage = "debian:13"\ninputs = ["src/**"]\nrun = ["make"]\noutput = ["dist"]\n'
    paths, root = project(tmp_path, monkeypatch, text)
    opened = open_project(str(root))
    desired = prepare(opened, lock=LockPolicy.PIN, keep=False)
    image = key_image(desired.build.container.image, desired.images)
    digest = f"sha256:{'c' * 64}"
    baked = BakedImage(
        key=image.key, digest=digest, manifest=digest, config_digest=digest, layers=(), config=ImageConfig()
    )
    StepCache(paths).record_image(baked)
    now = outputs.read_inputs(desired.build, desired.instance, desired.images, opened.store)
    assert now.image == digest
    assert release.compute_build_key(now) in inventory.collect_inventory(paths).merge_roots().keys
