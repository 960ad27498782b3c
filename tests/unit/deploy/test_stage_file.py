"""The copy of a stage's services: variables of env files, which may be secret, are stored on tmpfs only."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.deploy.stage_file import StageFiles
from devbox.model.release import Release
from devbox.model.spec import Instance
from devbox.model.stage import Deployment
from devbox.project import LockPolicy, open_project, prepare

QUEUE = """[service.queue]
from = "app"
command = ["queue"]
env_files = ["secret.env"]
"""
CACHE = """[service.cache]
from = "app"
command = ["cache"]
exports = { CACHE_URL = "1" }
"""
SECRET = "hunter2"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "RUNTIME_DIR", "CONFIG"):
        monkeypatch.setenv(f"DEVBOX_{name}", str(tmp_path / name.lower()))
    root = tmp_path / "project"
    root.mkdir()
    (root / "secret.env").write_text(f"PASSWORD={SECRET}\n")
    return root


def _write(root: Path, *, needs: list[str], services: str) -> tuple[StageFiles, Deployment, Instance]:
    """Write an env file whose release needs these services; return it, and a deployment of the release."""
    image = f"""[image]\nfrom = "app"\nneeds = {needs}\n[image.process.web]\ncommand = ["serve"]\n"""
    (root / "devbox.toml").write_text(f'[base.app]\nrecipe = "debian"\n{image}{services}[stage.production]\n')
    project = open_project(str(root))
    resolved = prepare(project, lock=LockPolicy.PIN, keep=False)
    assert resolved.release is not None
    release = Release(id="sha256:0", image="sha256:1", config=resolved.release, source="git:0", created_at="")
    deployment = Deployment(release=release, stage=resolved.stages["production"])
    return StageFiles(project, project, stage="production"), deployment, resolved.instance


def _find_secret(where: Path) -> list[str]:
    return [str(path) for path in where.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_variables_of_env_files_stay_on_tmpfs_when_the_file_no_longer_has_any(root: Path, tmp_path: Path):
    files, earlier, instance = _write(root, needs=["queue"], services=QUEUE)
    files.store(files.read(earlier, instance))
    assert _find_secret(tmp_path / "runtime_dir")
    assert not _find_secret(tmp_path / "config")
    files, now, _ = _write(root, needs=["cache"], services=CACHE)
    files.store(files.read(now, instance))
    assert not _find_secret(tmp_path / "config")
    assert not _find_secret(tmp_path / "home")
    (root / "devbox.toml").write_text("[")
    for deployment, need in ((earlier, "queue"), (now, "cache")):
        found = files.read(deployment, instance)
        assert found.copy == ""
        assert found.file.backing.containers.keys() == {need}, "both can be rolled back to"


def test_a_baseline_reads_what_the_release_next_to_it_has_read(root: Path):
    files, stable, instance = _write(root, needs=["queue", "cache"], services=QUEUE + CACHE)
    files.store(files.read(stable, instance))
    files, now, _ = _write(root, needs=["cache"], services=CACHE.replace('"1"', '"2"'))
    reading = files.read(now, instance)
    baseline = files.read(stable, instance, newer=reading.file)
    assert baseline.file.backing.exports["cache"] == {"CACHE_URL": "2"}
    assert baseline.file.backing.containers.keys() == {"cache", "queue"}
    assert not baseline.copy
