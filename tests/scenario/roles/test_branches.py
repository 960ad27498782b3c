"""`data = "branch"`: switching the git branch switches the data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = [pytest.mark.scenario, pytest.mark.long]

FILE = """
[service.db]
recipe = "redis"
data = "branch"
"""


def git(project: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=project, check=True, capture_output=True)


def redis(box: Box, project: Path, *words: str) -> str:
    return box.ok("exec", "db", "--", "redis-cli", *words, cwd=project).strip()


def test_each_branch_keeps_its_data_and_a_new_one_starts_with_a_copy(box: Box):
    project = box.project(FILE)
    git(project, "init", "-b", "main")
    git(project, "commit", "--allow-empty", "-m", "first")
    box.ok("up", cwd=project)
    redis(box, project, "set", "word", "of main")

    git(project, "switch", "-c", "feat/x")
    assert [step["op"] for step in box.json("plan", cwd=project)["steps"]] == ["stop", "copy", "replace"]
    box.ok("up", cwd=project)
    assert redis(box, project, "get", "word") == "of main"
    redis(box, project, "set", "word", "of the feature")
    assert box.json("plan", cwd=project) == {"steps": []}
    box.ok("up", cwd=project)  # this one notes that there is nothing to do

    git(project, "switch", "main")
    box.ok("up", cwd=project)
    assert redis(box, project, "get", "word") == "of main"
    git(project, "checkout", "--detach")
    assert box.json("plan", cwd=project) == {"steps": []}

    box.ok("down", cwd=project)
    git(project, "switch", "feat/x")
    box.ok("up", cwd=project)
    assert redis(box, project, "get", "word") == "of the feature"
    box.ok("snapshot", "save", cwd=project)
    assert box.json("snapshot", "ls", cwd=project)[0]["volumes"] == ["db.data@feat%2Fx"]

    box.ok("down", "-v", cwd=project)
    git(project, "switch", "main")
    box.ok("up", cwd=project)
    assert redis(box, project, "get", "word") == ""
