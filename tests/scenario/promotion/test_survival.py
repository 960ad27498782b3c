"""A deployment survives a broken or missing env file; only a command that names it destroys it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from support import staged
from support.machine import Box

pytestmark = pytest.mark.scenario

FILE = f"""
stages = ["staging", "production"]
{staged.FILE.replace('secrets = { TOKEN = "env:STAGING_TOKEN" }', "")}
[service.db]
recipe = "redis"

[stage.production]
env = {{ LEVEL = "live" }}
""".replace("[image]\n", '[image]\nneeds = ["db"]\n')


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def promote(box: Box, path: Path, stage: str, release: str) -> str:
    """Promote; the stage's address."""
    return str(json.loads(box.ok("promote", stage, release, "--json", cwd=path))["address"])


def test_issue9_a4_production_survives_a_broken_file_a_renamed_one_and_prune(box: Box):
    path = staged.project(box, FILE)
    first, second = staged.built(box, path, "1")["release"], staged.built(box, path, "2")["release"]
    for release in (first, second):
        for stage in ("staging", "production"):
            address = promote(box, path, stage, release)
    assert get(address) == "2 live"

    file = path / "devbox.toml"
    whole = file.read_text()
    file.rename(path / "devbox.old")
    pruned = box.run("doctor", "--prune", "-y", cwd=path.parent)
    examined = box.run("doctor", "--offline", cwd=path.parent).stdout.decode()
    collected = box.run("image", "gc", "-y", cwd=path.parent)
    (path / "devbox.old").rename(file)
    assert (pruned.returncode, collected.returncode) == (0, 0)
    assert f"production of {path} has a deployed release" in pruned.stderr.decode()
    assert "the stage and its data are kept" in examined
    assert get(address) == "2 live"

    file.write_text(whole.replace("[service.db]", "[service.db") + "broken [[[")
    assert "web-1" in box.ok("ps", "--stage", "production", cwd=path)
    back = box.run("rollback", "production", cwd=path)
    assert back.returncode == 0, back.stderr.decode()
    assert "using the file as of the last promotion" in back.stderr.decode()
    assert get(address) == "1 live"
    assert "redis" in box.ok("exec", "--stage", "production", "web", "--", "printenv", "REDIS_URL", cwd=path)

    unconfirmed = box.run("down", "-v", "-y", "--stage", "production", cwd=path)
    assert unconfirmed.returncode == 2
    assert "devbox down -v --stage production --confirm production" in unconfirmed.stderr.decode()
    assert box.run("doctor", "--clean", "-y", cwd=path).returncode == 2
    assert box.run("down", "-v", "--stage", "staging", cwd=path).returncode == 2
    assert get(address) == "1 live"
    file.write_text(whole)
    box.ok("down", "-v", "-y", "--stage", "staging", cwd=path)
    box.ok("down", "-v", "--stage", "production", "--confirm", "production", cwd=path)
    assert box.stages(path) == []


def test_issue9_a4_a_rollback_brings_a_service_back_that_the_file_no_longer_has(box: Box):
    path = staged.project(box, FILE)
    first = staged.built(box, path, "1")["release"]
    address = promote(box, path, "staging", first)
    file = path / "devbox.toml"
    file.write_text(file.read_text().replace('needs = ["db"]\n', "").replace('[service.db]\nrecipe = "redis"\n', ""))
    promote(box, path, "staging", staged.built(box, path, "2")["release"])
    assert get(address) == "2 info"
    box.ok("rollback", "staging", cwd=path)
    assert get(address) == "1 info"
    assert "redis" in box.ok("exec", "--stage", "staging", "web", "--", "printenv", "REDIS_URL", cwd=path)


def test_issue9_a4_a_broken_file_does_not_stop_a_rollback_to_what_ran_before_the_data_was_removed(box: Box):
    path = staged.project(box, FILE)
    first, second = staged.built(box, path, "1")["release"], staged.built(box, path, "2")["release"]
    promote(box, path, "staging", first)
    promote(box, path, "staging", second)
    box.ok("down", "-v", "-y", "--stage", "staging", cwd=path)
    address = promote(box, path, "staging", second)
    file = path / "devbox.toml"
    whole = file.read_text()
    file.write_text(f"{whole}\nbroken = [")
    box.ok("rollback", "staging", cwd=path)
    assert get(address) == "1 info"
    box.ok("down", "--stage", "staging", cwd=path)
    assert box.json("ps", "--stage", "staging", cwd=path) == []
    file.write_text(whole)
