"""Gray releases from the command line, on real containers under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import staged
from support.load import Load
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

FILE = staged.gray_file(
    """\
steps = [20, 50]
min_time = "1s"
min_requests = 20
margin = 0.5
bake = "1s"
"""
)
PATIENT = FILE.replace("min_requests = 20", "min_requests = 100000")
# A release whose version is "bad" fails every tenth request.
BAD_APP = staged.APP.replace(
    '"HTTP/1.1 200 OK',
    '"HTTP/1.1 " . ($version eq "bad" && $path !~ /healthz/ && rand() < 0.1 ? "500 Oops" : "200 OK") . "',
)


def project(box: Box, text: str = FILE, *, approver: str = "") -> tuple[Path, str]:
    """The project with its version 1 in production, and the address. `approver`: the name of a key to create."""
    path = box.project(text, "greeter", {"greeter/app.pl": BAD_APP, "greeter/version": "1\n"})
    if approver:
        (path / "keys").mkdir()
        (path / f"keys/{approver}.pub").write_text(box.ok("key", "create", approver, "--no-passphrase", cwd=path))
    staged.built(box, path, "1")
    box.ok("promote", "gray", cwd=path)
    first = box.json("promote", "production", cwd=path)
    return path, first["address"]


def ledger(box: Box, path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in box.ok("release", "log", "--json", cwd=path).splitlines()]


def phases(box: Box, path: Path) -> list[str]:
    return [entry["body"]["phase"] for entry in ledger(box, path) if entry["kind"] == "gray"]


def images(box: Box, path: Path) -> set[str]:
    return {row["image"] for row in box.json("ps", "--stage", "production", cwd=path) if row["name"].startswith("web")}


def begun(box: Box, path: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        box.argv("promote", "gray", *words),
        cwd=path,
        env=box.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def step(box: Box, path: Path) -> int:
    done = box.run("release", "report", "--json", cwd=path)
    found = json.loads(done.stdout) if done.returncode == 0 else {}
    return int(found["step"]) if found.get("phase") == "step" else 0


def test_a_good_release_gets_traffic_step_by_step_without_losses(box: Box):
    path, address = project(box)
    second = staged.built(box, path, "2")
    with Load(address, connections=6, rate=150) as load:
        box.ok("promote", "gray", cwd=path)
        assert {"1 info", "2 info"} <= set(load.bodies)
        assert len(images(box, path)) == 2
        done = box.json("promote", "production", cwd=path)
        load.bodies.clear()
        load.wait(50)
        assert set(load.bodies) == {"2 info"}
    assert load.failed == []
    assert (done["release"], done["address"]) == (second["release"], address)
    assert phases(box, path) == ["step", "step", "hold", "bake", "stable"]
    assert len(images(box, path)) == 1
    again = box.json("promote", "gray", cwd=path)
    assert again["changed"] is False
    box.ok("rollback", "production", cwd=path)
    assert staged_version(address) == "1 info"
    box.ok("down", "--stage", "production", cwd=path)


@pytest.mark.long
def test_a_bad_release_is_rolled_back_after_few_requests(box: Box):
    path, address = project(box, PATIENT)
    bad = staged.built(box, path, "bad")
    with Load(address, connections=6, rate=150) as load:
        done = box.run("promote", "gray", cwd=path)
        assert done.returncode == 1
        assert b"was rolled back: errors" in done.stderr
        load.wait(20)
        load.bodies.clear()
        load.wait(200)
        assert set(load.bodies) == {"1 info"}
    assert {text.rpartition(": ")[2] for text in load.failed} <= {"500"}
    assert len(images(box, path)) == 1
    assert ledger(box, path)[-1]["kind"] == "failed"
    said = box.run("promote", "production", bad["release"], cwd=path)
    assert said.returncode == 1


@pytest.mark.long
def test_from_another_terminal_it_is_held_resumed_and_aborted(box: Box):
    path, address = project(box, PATIENT)
    staged.built(box, path, "2")
    with Load(address, connections=4, rate=100) as load:
        box.ok("promote", "gray", "-d", cwd=path)
        assert step(box, path) == 1
        assert json.loads(box.ok("release", "hold", "--json", cwd=path))["held"] is True
        assert json.loads(box.ok("release", "resume", "--json", cwd=path))["held"] is False
        assert json.loads(box.ok("release", "abort", "--json", cwd=path))["phase"] == "aborted"
        wait_until(lambda: ledger(box, path)[-1]["kind"] == "failed", what="the end of the promotion")
    assert load.failed == []
    assert len(images(box, path)) == 1


@pytest.mark.long
def test_a_killed_controller_leaves_what_the_next_command_ends(box: Box):
    path, address = project(box, PATIENT)
    staged.built(box, path, "2")
    with Load(address, connections=4, rate=100) as load:
        running = begun(box, path)
        try:
            wait_until(lambda: step(box, path) == 1, seconds=60, what="the first step")
        finally:
            os.kill(running.pid, signal.SIGKILL)
            running.communicate()
        box.ok("release", "abort", cwd=path)
        only_the_first_is_left(box, path, load)
    assert load.failed == []


@pytest.mark.long
def test_a_newer_release_supersedes_the_one_under_way(box: Box):
    path, address = project(box, PATIENT)
    staged.built(box, path, "2")
    with Load(address, connections=4, rate=100) as load:
        box.ok("promote", "gray", "-d", cwd=path)
        newer = staged.built(box, path, "3")
        box.ok("promote", "gray", newer["release"], "--supersede", "-d", cwd=path)
        assert json.loads(box.ok("release", "report", "--json", cwd=path))["release"] == newer["release"]
        box.ok("release", "abort", cwd=path)
    assert load.failed == []


@pytest.mark.long
def test_issue10_a_release_revoked_during_its_gray_release_is_rolled_back(box: Box):
    slow = FILE.replace('min_time = "1s"', 'min_time = "5s"')
    path, address = project(box, slow + '\n[approvers]\nann = "keys/ann.pub"\n', approver="ann")
    second = staged.built(box, path, "2")
    with Load(address, connections=4, rate=100) as load:
        running = begun(box, path)
        try:
            wait_until(lambda: step(box, path) == 1, seconds=60, what="the first step")
            box.ok("release", "revoke", "-y", second["release"], "--key", "ann", cwd=path)
        finally:
            _, said = running.communicate(timeout=120)
        assert running.returncode == 1
        assert b"was revoked" in said
        only_the_first_is_left(box, path, load)
    assert load.failed == []


@pytest.mark.long
def test_issue10_a_release_that_was_rolled_back_gets_another_gray_release(box: Box):
    path, address = project(box)
    second = staged.built(box, path, "2")
    with Load(address, connections=4, rate=100) as load:
        box.ok("promote", "gray", cwd=path)
        box.ok("promote", "production", cwd=path)
        box.ok("rollback", "production", cwd=path)
        before = len(phases(box, path))
        box.ok("promote", "gray", second["release"], cwd=path)
        assert phases(box, path)[before:] == ["step", "step", "hold"]
        load.bodies.clear()
        load.wait(200)
        assert set(load.bodies) == {"1 info", "2 info"}
        box.ok("release", "abort", cwd=path)
    assert load.failed == []


def only_the_first_is_left(box: Box, path: Path, load: Load) -> None:
    """Only version 1 answers and runs, and the promotion is recorded as failed."""
    load.bodies.clear()
    load.wait(100)
    assert set(load.bodies) == {"1 info"}
    assert len(images(box, path)) == 1
    assert ledger(box, path)[-1]["kind"] == "failed"


def staged_version(address: str) -> str:
    """The service's response."""
    import urllib.request

    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()
