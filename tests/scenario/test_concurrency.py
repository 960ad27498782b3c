"""Concurrent devbox processes on one project or one home: they wait for each other or do not interfere."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
needs = ["helper"]
[service.helper]
from = "dev"
command = "echo here I am; exec sleep infinity"
"""
HELD = """
[dev]
recipe = "debian"
setup = { run = ["until test -e go; do sleep 0.1; done"] }
"""
LEAVING = """
[dev]
recipe = "debian"
[service.old]
from = "dev"
command = "trap 'touch /talk/asked; until test -e /talk/go; do sleep 0.1; done; exit' TERM; while :; do sleep 0.1; done"
stop_timeout = "300s"
volumes = { talk = "/talk" }
"""
ARRIVED = """
[dev]
recipe = "debian"
ports = [PORT]
"""
_SECONDS = 300
_ROUNDS = (2, pytest.param(10, marks=pytest.mark.long))


def start(box: Box, project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        box.argv(*words),
        cwd=project,
        env=box.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """Its output; it must succeed."""
    output = process.communicate(timeout=_SECONDS)[0]
    assert process.returncode == 0, output
    return output


def running(box: Box, project: Path) -> set[str]:
    return {name for name, row in box.ps(project).items() if row["state"] == "running"}


@pytest.mark.parametrize("rounds", _ROUNDS)
def test_two_ups_at_once_are_one_up(box: Box, rounds: int):
    project = box.project(FILE)
    for _ in range(rounds):
        for process in [start(box, project, "up") for _ in range(2)]:
            end(process)
        assert running(box, project) == {"dev", "helper"}
        box.ok("down", cwd=project)


def test_a_waiting_command_names_the_holder(box: Box):
    project = box.project(HELD)
    first = start(box, project, "up")
    wait_until(lambda: running(box, project) == {"dev"}, seconds=_SECONDS, what="the setup of the first")
    second = start(box, project, "up")
    assert second.stdout is not None
    said = second.stdout.readline()
    (project / "go").touch()
    for process in (first, second):
        end(process)
    assert "waiting for another devbox" in said
    assert f"(pid {first.pid})" in said


@pytest.mark.parametrize("rounds", _ROUNDS)
def test_up_against_down_ends_in_one_of_the_two(box: Box, rounds: int):
    project = box.project(FILE)
    before = box.footprint()
    for _ in range(rounds):
        for process in [start(box, project, "up"), start(box, project, "down")]:
            end(process)
        assert running(box, project) in (set(), {"dev", "helper"})
    box.ok("up", cwd=project)
    assert running(box, project) == {"dev", "helper"}
    box.ok("down", "-v", cwd=project)
    assert not box.leftovers(before)


def test_thirty_execs_at_once_each_get_their_own_answer(box: Box):
    project = box.project(FILE)
    box.ok("up", cwd=project)
    together = [start(box, project, "exec", "--", "sh", "-c", f"cat >/dev/null; echo {n}") for n in range(30)]
    assert [end(process).split() for process in together] == [[str(n)] for n in range(30)]


def test_worktrees_and_projects_of_one_home_come_up_at_once_and_share_a_bake(box: Box):
    text = FILE.replace('recipe = "debian"', 'recipe = "debian"\nrun = ["echo made together >/made"]')
    projects = [box.project(text, name=name) for name in ("left", "right", "third")]
    for process in [start(box, project, "up") for project in projects]:
        end(process)
    for project in projects:
        assert running(box, project) == {"dev", "helper"}
        assert box.ok("exec", "--", "cat", "/made", cwd=project) == "made together\n"
    digests = {row["digest"] for project in projects for row in box.json("ps", cwd=project)}
    assert len(digests) == 1


def test_down_while_someone_follows_the_logs(box: Box):
    project = box.project(FILE)
    box.ok("up", cwd=project)
    follower = start(box, project, "logs", "-f")
    try:
        assert follower.stdout is not None
        assert "here I am" in follower.stdout.readline()
        box.ok("down", cwd=project, timeout=_SECONDS)
        assert follower.poll() is None, "it goes on: the next up continues the log"
        box.ok("up", cwd=project)
        wait_until(lambda: "here I am" in follower.stdout.readline(), seconds=_SECONDS)
    finally:
        follower.kill()
        follower.communicate()


def test_a_port_taken_between_observation_and_start_is_replaced(box: Box):
    """A slow stop of a container delays a command after its observation."""
    project = box.project(LEAVING)
    box.ok("up", cwd=project)
    (talk,) = box.home.glob("volumes/*/talk")
    with socket.create_server(("127.0.0.1", 0)) as rival:
        port = rival.getsockname()[1]
    (project / "devbox.toml").write_text(ARRIVED.replace("PORT", str(port)))
    process = start(box, project, "up")
    wait_until((talk / "asked").exists, seconds=_SECONDS, what="the asking of the old container")
    with socket.create_server(("127.0.0.1", port)):
        (talk / "go").touch()
        said = end(process)
    assert f"port {port} on 127.0.0.1 is already in use: trying again" in said
    (published,) = box.ps(project)["dev"]["ports"]
    assert published["host"] != port
