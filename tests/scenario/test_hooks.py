"""[hooks]: host commands after the containers start; each needs permission and is retried until it succeeds."""

from __future__ import annotations

import json

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
secrets = { TOKEN = "env:SHOP_TOKEN" }

[hooks]
created = "echo created >> told"
started = ["sh", "-c", "echo started >> told; echo the token is $SHOP_TOKEN; test ! -e broken"]
"""
CALLER = {"SHOP_TOKEN": "tok-4711-secret"}


def test_hooks_run_once_allowed_after_the_containers_are_ready(box: Box):
    project = box.project(FILE)
    told = project / "told"

    refused = box.run("up", cwd=project, env=CALLER)
    assert (refused.returncode, told.exists(), box.ps(project)) == (1, False, {})
    assert b"devbox trust" in refused.stderr
    assert "run on the host: echo created" in box.ok("trust", cwd=project, env=CALLER)

    (project / "broken").touch()
    failed = box.run("up", cwd=project, env=CALLER)
    assert failed.returncode == 1
    assert b"the hook started failed" in failed.stderr
    assert b"the token is ***" in failed.stderr
    assert CALLER["SHOP_TOKEN"].encode() not in failed.stderr
    assert box.ps(project)["dev"]["state"] == "running"
    planned = json.loads(box.run("plan", "--json", cwd=project, env=CALLER).stdout)
    assert {step["op"] for step in planned["steps"]} == {"hook"}
    assert (project / "devbox.lock.toml").exists(), "what stands is written down"

    (project / "broken").unlink()
    box.ok("up", cwd=project, env=CALLER)
    assert told.read_text().split() == ["created", "started", "started"]
    box.ok("up", cwd=project, env=CALLER)
    box.ok("run", "--", "true", cwd=project, env=CALLER)
    assert told.read_text().split() == ["created", "started", "started"], "nothing was started"
    box.ok("down", cwd=project)
    box.ok("up", cwd=project, env=CALLER)
    assert told.read_text().split() == ["created", "started", "started", "started"]


@pytest.mark.long
def test_down_with_its_data_makes_the_instance_new(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n[hooks]\ncreated = "echo created >> told"\n')
    box.ok("trust", cwd=project)
    for _ in range(2):
        box.ok("up", cwd=project)
        box.ok("down", "-v", cwd=project)
    assert (project / "told").read_text().split() == ["created", "created"]


@pytest.mark.as_root
@pytest.mark.long
def test_a_hook_may_exec_in_a_container_but_not_change_the_waiting_instance(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n[hooks]\nstarted = "sh hook"\n')
    devbox = " ".join(box.argv())
    (project / "hook").write_text(f"{devbox} exec -- echo inside > told; {devbox} up; echo $? >> told\n")
    box.ok("trust", cwd=project)
    box.ok("up", cwd=project, timeout=60)
    assert (project / "told").read_text().split() == ["inside", "2"]
