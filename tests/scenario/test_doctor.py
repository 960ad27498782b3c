"""`doctor` reports leftovers and removes everything that devbox has created; the next `up` works again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from scenario.test_crash import supervisor_pid
from support.machine import Box, destroy, make_box
from support.supervisors import kill_for_good

pytestmark = pytest.mark.scenario

# One image for both: it is baked again for each clean.
SHOP = """\
[dev]
recipe = "debian"

[service.store]
recipe = "debian"
command = ["sleep", "infinity"]
volumes = { data = "/data" }
"""


def findings(box: Box, project: Path) -> list[dict[str, str]]:
    """Findings of `doctor` that are not ok."""
    return [found for found in box.json("doctor", "--offline", cwd=project) if found["state"] != "ok"]


def test_a_healthy_host_has_no_problem(any_box: Box):
    project = any_box.project('[dev]\nrecipe = "debian"\n')
    found = any_box.json("doctor", cwd=project)
    assert not [finding for finding in found if finding["state"] == "problem"]
    assert {finding.keys() == {"check", "state", "sentence", "remedy"} for finding in found} == {True}
    any_box.ok("doctor", cwd=project)


@pytest.mark.as_root
def test_a_killed_supervisor_is_reported_and_up_recovers(box: Box):
    project = box.project(SHOP)
    box.ok("up", cwd=project)
    assert not findings(box, project)
    kill_for_good(supervisor_pid(box))
    (found,) = findings(box, project)
    assert "was killed" in found["sentence"]
    assert found["remedy"].startswith(f"devbox -C {project} up")
    box.ok("up", cwd=project)
    assert not findings(box, project)


def test_issue9_b9_a_project_that_is_moved_keeps_its_containers_and_its_data(any_box: Box):
    box = any_box
    project = box.project(SHOP.replace('recipe = "debian"\n', 'recipe = "debian"\nports = [8000]\n', 1))
    box.ok("up", cwd=project)
    box.ok("exec", "store", "--", "sh", "-c", "echo rows > /data/rows", cwd=project)
    before = box.ps(project)
    moved = project.rename(project.parent / "moved")
    box.projects.append(moved)

    (found,) = (each for each in findings(box, project.parent) if each["check"] == "leftovers")
    assert found["sentence"].startswith(f"{project} was moved to {moved}; ")
    assert found["remedy"] == f"devbox -C {moved} up"
    box.ok("doctor", "--prune", "-y", cwd=project.parent)
    assert box.ps(moved) == before, "every command finds it"
    box.ok("up", cwd=moved)
    after = box.ps(moved)
    assert (after["store"]["pid"], after["dev"]["ports"]) == (before["store"]["pid"], before["dev"]["ports"])
    box.ok("exec", "--", "touch", "here", cwd=moved)
    assert (moved / "here").exists()
    assert not [each for each in findings(box, moved) if each["check"] == "leftovers"]
    assert box.ok("exec", "store", "--", "cat", "/data/rows", cwd=moved) == "rows\n"

    project.mkdir()
    (project / "devbox.toml").write_text(SHOP)
    box.adopt(project)
    assert box.ps(project) == {}, "another project at the former place is another one"


def test_a_project_that_is_gone_is_pruned_with_what_it_runs(any_box: Box):
    box = any_box
    kept, gone = box.project(SHOP), box.project(SHOP)
    before = box.footprint()
    for project in (gone, kept):
        box.ok("up", cwd=project)
    running = box.ps(kept)
    shutil.rmtree(gone)
    (found,) = [found for found in findings(box, kept) if found["check"] == "leftovers"]
    assert str(gone) in found["sentence"]
    assert found["remedy"] == "devbox doctor --prune"
    refused = box.run("doctor", "--prune", cwd=kept)
    assert refused.returncode == 2
    assert b"devbox doctor --prune --yes" in refused.stderr
    box.ok("doctor", "--prune", "--yes", cwd=kept)
    assert not [found for found in findings(box, kept) if found["check"] == "leftovers"]
    assert box.ps(kept) == running, "others are left alone"
    box.ok("down", "-v", cwd=kept)
    assert not box.leftovers(before)


@pytest.mark.parametrize("kind", ["root-crun", pytest.param("user-crun", marks=pytest.mark.long)])
def test_after_a_clean_nothing_is_left_and_everything_works_again(kind: str):
    box = make_box(kind)
    try:
        project = box.project(SHOP)
        before = box.footprint()
        box.ok("up", cwd=project)
        box.ok("exec", "store", "--", "touch", "/data/kept", cwd=project)
        asked = box.run("doctor", "--clean", cwd=project)
        assert asked.returncode == 2
        assert str(box.home) in asked.stdout.decode(), "it says which home it is about"
        assert "STOPS" in asked.stdout.decode()
        assert box.ps(project)["store"]["state"] == "running", "nothing was removed yet"
        box.ok("doctor", "--clean", "--yes", cwd=project)
        assert not box.home.exists()
        assert not box.leftovers(before)
        assert box.run("doctor", "--clean", "--yes", cwd=project).returncode == 0, "there is nothing to remove"
        box.ok("up", cwd=project)
        assert box.ok("exec", "store", "--", "ls", "/data", cwd=project) == "", "data is gone"
        box.ok("down", "-v", cwd=project)
        assert not box.leftovers(before)
    finally:
        destroy(box)


@pytest.mark.as_root
def test_what_is_up_in_another_home_is_left_alone(box: Box, tmp_path: Path):
    """The same project, so the same instance id: only the home distinguishes the two."""
    project = box.project('[dev]\nrecipe = "debian"\n')
    box.ok("up", cwd=project)
    running = box.ps(project)
    other = {"DEVBOX_HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    parts = [str(box.home / name) for name in ("oci", "snapshots", "steps")]
    subprocess.run(["cp", "--archive", *parts, str(tmp_path / "home")], check=True)  # devices of images as such
    box.ok("up", cwd=project, env=other)
    box.ok("doctor", "--clean", "--yes", cwd=project, env=other)
    assert box.ps(project) == running
