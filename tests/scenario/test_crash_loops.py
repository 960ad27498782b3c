"""`up` does not report success for a container that does not keep running."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

LOOP = """
[dev]
recipe = "debian"

[service.loop]
from = "dev"
command = "sleep 1; exit 3"
health = false
"""
SLOW = """
[service.slow]
from = "dev"
command = "sleep 6; touch /up; sleep 1000"
health = { command = "test -e /up" }
"""
DEAF = """
[dev]
recipe = "debian"

[service.deaf]
from = "dev"
command = "trap '' TERM; while :; do sleep 0.1; done"
stop_timeout = "3s"
health = false
"""


def test_issue9_b7_up_fails_next_to_a_crash_loop(box: Box):
    project = box.project(LOOP)
    box.run("up", cwd=project)
    wait_until(lambda: box.ps(project)["loop"]["restarts"] >= 3, what="three crashes")
    for _ in range(2):
        done = box.run("up", cwd=project)
        said = done.stderr.decode()
        assert done.returncode == 1, said
        assert "loop keeps crashing: exit code 3, " in said
        assert " restarts" in said
        assert "devbox logs loop" in said


def test_issue9_b7_up_fails_where_a_service_crashes_at_once(box: Box):
    project = box.project(LOOP.replace("sleep 1", "sleep 0.15"))
    done = box.run("up", cwd=project)
    assert done.returncode == 1
    assert b"loop keeps crashing: exit code 3" in done.stderr


def test_issue9_b7_up_observes_again_at_the_end(box: Box):
    project = box.project(LOOP + SLOW)
    done = box.run("up", cwd=project)
    assert done.returncode == 1
    assert b"loop keeps crashing" in done.stderr


@pytest.mark.parametrize("command", ["stop", "down"])
def test_issue9_b7_up_waits_for_a_stop_in_progress(box: Box, command: str):
    project = box.project(DEAF)
    box.ok("up", cwd=project)
    before = box.ps(project)["deaf"]["pid"]
    stopping = subprocess.Popen(box.argv(command), cwd=project, env=box.environment(), stderr=subprocess.DEVNULL)
    wait_until(lambda: box.ps(project)["deaf"]["state"] == "stopping", what="the stop")
    os.kill(stopping.pid, signal.SIGKILL)
    stopping.wait()
    box.ok("up", cwd=project)
    after = box.ps(project)["deaf"]
    assert after["state"] == "running"
    assert after["pid"] != before
