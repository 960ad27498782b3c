"""Data is saved and restored while its services are stopped."""

from __future__ import annotations

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
volumes = { work = "/work" }

[service.cache]
recipe = "redis"
"""


def test_a_snapshot_is_what_was_there_when_it_was_saved(box: Box):
    project = box.project(FILE)

    def say(*words: str) -> str:
        return box.ok("exec", "cache", "--", "redis-cli", *words, cwd=project).strip()

    failed = box.run("snapshot", "save", "early", cwd=project)
    assert (failed.returncode, b"has no volumes yet" in failed.stderr) == (2, True)
    box.ok("up", cwd=project)
    dev = box.ps(project)["dev"]["pid"]
    say("set", "key", "one")
    assert box.ok("snapshot", "save", "before", "--only", "cache", cwd=project) == "before\n"
    assert box.ps(project)["dev"]["pid"] == dev, "who does not use the data goes on"
    assert say("get", "key") == "one"

    say("set", "key", "two")
    box.ok("snapshot", "save", "after", cwd=project)
    assert [each["volumes"] for each in box.json("snapshot", "ls", cwd=project)] == [
        ["cache.data"],
        ["cache.data", "work"],
    ]
    box.ok("snapshot", "restore", "-y", "before", cwd=project)
    assert say("get", "key") == "one"

    box.ok("down", "-v", cwd=project)
    box.ok("snapshot", "restore", "-y", "after", cwd=project)
    box.ok("up", cwd=project)
    assert say("get", "key") == "two"
    assert box.run("snapshot", "restore", "-y", "other", cwd=project).returncode == 2
    (data, _) = box.json("volume", "ls", cwd=project)
    assert (data["name"], data["containers"], data["in_use"]) == ("cache.data", ["cache"], True)
    kept = box.run("volume", "rm", "cache.data", cwd=project)
    assert (kept.returncode, b"in use by cache" in kept.stderr) == (2, True)
    box.ok("down", cwd=project)
    refused = box.run("volume", "rm", "work", cwd=project)
    assert (refused.returncode, b"devbox volume rm work --yes" in refused.stderr) == (2, True)
    box.ok("volume", "rm", "-y", "cache.data", cwd=project)
    assert [each["name"] for each in box.json("volume", "ls", cwd=project)] == ["work"]
    box.ok("snapshot", "rm", "-y", "before", "after", cwd=project)
    assert box.json("snapshot", "ls", cwd=project) == []
