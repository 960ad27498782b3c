"""An unhealthy release is rolled back after it received the traffic, even if devbox is killed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support import staged
from support.load import Load
from support.machine import Box

pytestmark = pytest.mark.scenario

# "ill" fails its health check three seconds after its start, "bad" every request but that one, "dies" ends at times,
# "stumbles" once, and takes a while to start again.
APP = (
    staged.APP.replace(
        "my $answer =",
        """my $health = $path =~ /healthz/;
    exit 3 if $version eq 'dies' && time - $^T >= 2 && !$health;
    if ($version eq 'stumbles' && time - $^T >= 2 && !-e '/srv/fell') { open my $fell, '>', '/srv/fell'; exit 3 }
    my $oops = ($version eq 'ill' && $health && time - $^T >= 3) || ($version eq 'bad' && !$health);
    my $answer =""",
    )
    .replace("my $socket =", "sleep 3 if $version eq 'stumbles' && -e '/srv/fell';\nmy $socket =")
    .replace('"HTTP/1.1 200 OK', '"HTTP/1.1 " . ($oops ? "503 Ill" : "200 OK") . "')
)
FILE = (
    staged.FILE.replace(
        'secrets = { TOKEN = "env:STAGING_TOKEN" }', 'strategy = { kind = "STRATEGY" }\nverify = "SECONDS"'
    )
    .replace("[image.process.worker]", '[image.process.worker]\nkind = "job"')
    .replace("exec sleep 1000", "true")
)


def project(box: Box, strategy: str, *, verify: str = "8s") -> Path:
    """The project, with its version 1 in the stage."""
    text = FILE.replace("STRATEGY", strategy)
    path = box.project(text.replace("SECONDS", "0s"), "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"})
    staged.built(box, path, "1")
    box.ok("promote", "staging", cwd=path)
    (path / "devbox.toml").write_text(text.replace("SECONDS", verify))
    return path


def address(box: Box, path: Path) -> str:
    (router,) = box.json("ps", "--stage", "staging", "router", cwd=path)
    return f"http://{router['ports'][0]['address']}:{router['ports'][0]['host']}"


def log(box: Box, path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in box.ok("release", "log", "--json", cwd=path).splitlines()]


def check_back(box: Box, path: Path, reason: str) -> None:
    """The old release runs again, alone, and the ledger says why."""
    last = log(box, path)[-1]
    assert (last["kind"], last["stage"]) == ("failed", "staging")
    assert reason in last["body"]["reason"]
    with urllib.request.urlopen(address(box, path), timeout=10) as answer:
        assert answer.read() == b"1 info"
    digests = {row["digest"] for row in box.json("ps", "--stage", "staging", cwd=path) if row["name"].startswith("web")}
    assert len(digests) == 1


@pytest.mark.long
def test_issue10_10_a_check_that_fails_after_three_seconds_brings_the_old_release_back(box: Box):
    path = project(box, "blue-green")
    staged.built(box, path, "ill")
    with Load(address(box, path), connections=4, rate=50) as load:
        done = box.run("promote", "staging", cwd=path)
    assert done.returncode == 1
    assert b"failed the health check" in done.stderr
    assert load.failed == []
    assert "ill info" in load.bodies
    check_back(box, path, "failed the health check")


@pytest.mark.parametrize(
    ("strategy", "version", "reason"),
    [
        pytest.param("rolling", "ill", "failed the health check", marks=pytest.mark.long),
        pytest.param("blue-green", "bad", "requests failed", marks=pytest.mark.long),
        pytest.param("rolling", "bad", "requests failed", marks=pytest.mark.long),
        pytest.param("recreate", "ill", "failed the health check", marks=pytest.mark.long),
        pytest.param("blue-green", "dies", "web-", marks=pytest.mark.long),
    ],
)
def test_issue10_10_each_strategy_rolls_back_automatically(box: Box, strategy: str, version: str, reason: str):
    path = project(box, strategy, verify="15s")
    staged.built(box, path, version)
    with Load(address(box, path), connections=4, rate=50):
        done = box.run("promote", "staging", cwd=path)
    assert done.returncode == 1, done.stderr.decode()
    check_back(box, path, reason)


@pytest.mark.long
def test_issue10_10_a_good_release_stays_and_going_back_is_not_observed(box: Box):
    path = project(box, "blue-green", verify="4s")
    staged.built(box, path, "2")
    with Load(address(box, path), connections=4, rate=50) as load:
        box.ok("promote", "staging", cwd=path)
        load.wait(20)
        box.ok("rollback", "staging", cwd=path)
        load.wait(20)
    assert load.failed == []
    assert log(box, path)[-1]["kind"] == "applied"
    assert load.bodies.keys() == {"1 info", "2 info"}


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["blue-green", "rolling", "recreate"])
def test_issue10_verify_a_release_whose_containers_crash_once_stays(box: Box, strategy: str):
    path = project(box, strategy, verify="8s")
    staged.built(box, path, "stumbles")
    with Load(address(box, path), connections=4, rate=50):
        box.ok("promote", "staging", cwd=path)
    assert log(box, path)[-1]["kind"] == "applied"
    rows = {row["name"]: row for row in box.json("ps", "--stage", "staging", cwd=path)}
    assert {row["restarts"] for name, row in rows.items() if name.startswith("web")} == {1}


@pytest.mark.long
@pytest.mark.parametrize("next_command", ["promote", "rollback"])
def test_issue10_10_after_a_kill_during_verification_the_next_command_rolls_back(box: Box, next_command: str):
    path = project(box, "blue-green", verify="60s")
    staged.built(box, path, "ill")
    _killed_while_observing(box, path)
    done = box.run(next_command, "staging", cwd=path)
    assert done.returncode == (1 if next_command == "promote" else 0), done.stderr.decode()
    with urllib.request.urlopen(address(box, path), timeout=10) as answer:
        assert answer.read() == b"1 info"
    assert {entry["kind"] for entry in log(box, path)[-6:]} >= {"failed"}


def _killed_while_observing(box: Box, path: Path) -> None:
    running = subprocess.Popen(
        box.argv("promote", "staging", "--progress", "plain"),
        cwd=path,
        env=box.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert running.stderr is not None
    with running:
        for line in running.stderr:
            if b"verify" in line or b"observed for" in line:
                os.kill(running.pid, 9)
                return
    raise AssertionError("it did not observe")
