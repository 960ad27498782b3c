"""`--stage` of commands that deploy nothing: restart, stop, run, debug, volumes and snapshots of a stage."""

from __future__ import annotations

import pytest
from support import staged
from support.load import Load
from support.machine import Box

pytestmark = pytest.mark.scenario

TEXT = staged.FILE.replace('secrets = { TOKEN = "env:STAGING_TOKEN" }\n', "")
SERVICE = """
[service.db]
recipe = "own"
command = "test -e /data/x || echo first > /data/x; sleep infinity"
volumes = { data = "/data" }
"""
RECIPE = """
description = "Debian, by a recipe of the project"
[[steps]]
op = "bootstrap"
distribution = "debian"
suite = "trixie"
"""


def states(box: Box, path) -> dict[str, tuple[str, int | None]]:
    rows = box.json("ps", "--stage", "staging", cwd=path)
    return {row["name"].partition("-")[0]: (row["state"], row["pid"]) for row in rows if not row["name"].endswith("-2")}


def test_a_restart_of_replicas_loses_no_request(box: Box):
    path = staged.project(box, TEXT)
    staged.built(box, path, "1")
    assert "the newest built here" in box.run("promote", "staging", "--dry-run", cwd=path).stderr.decode()
    address = box.json("promote", "staging", cwd=path)["address"]
    before = {row["name"]: row["pid"] for row in box.json("ps", "--stage", "staging", cwd=path)}
    with Load(address, connections=4, rate=100) as load:
        load.wait(50)
        box.ok("restart", "--stage", "staging", "web", cwd=path)
        load.wait(50)
    assert load.failed == []
    after = {row["name"]: row["pid"] for row in box.json("ps", "--stage", "staging", cwd=path)}
    assert {name for name in before if before[name] != after[name]} == {name for name in before if "web-" in name}
    assert box.run("restart", "--stage", "staging", "router", cwd=path).returncode == 2
    assert box.ok("run", "--stage", "staging", "--", "printenv", "LEVEL", cwd=path) == "info\n"
    assert box.run("run", "--stage", "staging", "task", cwd=path).returncode == 2
    box.ok("stop", "--stage", "staging", cwd=path)
    assert {state for state, _ in states(box, path).values()} == {"exited"}
    refused = box.run("restart", "--stage", "staging", cwd=path)
    assert refused.returncode == 2
    assert b"devbox promote staging" in refused.stderr
    assert box.json("promote", "staging", cwd=path)["changed"]
    assert states(box, path)["web"][0] == "running"


def test_data_of_a_stage_is_saved_and_restored_and_a_protected_stage_is_named(box: Box):
    text = TEXT.replace("[image]\n", '[image]\nneeds = ["db"]\n') + "protected = true\n" + SERVICE
    path = box.project(
        text, "greeter", {"greeter/app.pl": staged.APP, "greeter/version": "1\n", "recipes/own.toml": RECIPE}
    )
    staged.built(box, path, "1")
    box.ok("promote", "staging", cwd=path)

    def on_stage(*words: str) -> tuple[str, ...]:
        return (*words, "--stage", "staging")

    assert [row["name"] for row in box.json(*on_stage("volume", "ls"), cwd=path)] == ["data"]
    assert box.json("volume", "ls", cwd=path) == []
    assert box.run(*on_stage("snapshot", "save"), cwd=path).returncode == 2  # no git branch has a stage's data
    box.ok(*on_stage("snapshot", "save", "good"), cwd=path)
    box.ok(*on_stage("exec", "db"), "--", "sh", "-c", "echo second > /data/x", cwd=path)
    refused = box.run(*on_stage("snapshot", "restore", "good"), "--yes", cwd=path)
    assert refused.returncode == 2
    assert b"--confirm staging" in refused.stderr
    box.ok(*on_stage("snapshot", "restore", "good"), "--confirm", "staging", cwd=path)
    assert box.ok(*on_stage("exec", "db"), "--", "cat", "/data/x", cwd=path) == "first\n"
    assert states(box, path)["db"][0] == "running"
    assert box.run(*on_stage("volume", "rm", "data"), "--confirm", "staging", cwd=path).returncode == 2  # in use
    assert box.run(*on_stage("snapshot", "rm", "good"), "--yes", cwd=path).returncode == 2
    box.ok(*on_stage("snapshot", "rm", "good"), "--confirm", "staging", cwd=path)
    assert box.json(*on_stage("snapshot", "ls"), cwd=path) == []
    assert box.run(*on_stage("plan"), cwd=path).returncode == 0
    assert box.run(*on_stage("volume", "ls"), "-C", "/", cwd=path).returncode == 2
