"""A gray release compared with new replicas of stable, on containers whose first requests fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import staged
from support.load import Load
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

FILE = staged.gray_file(
    """\
baseline = "fresh"
steps = [20, 50]
min_time = "3s"
min_requests = 50
margin = 0.3
bake = "1s"
""",
    replicas=2,
)
PATIENT = FILE.replace("min_requests = 50", "min_requests = 100000")
STABLE = FILE.replace('baseline = "fresh"\n', "")
YOUNG = 150  # requests of a process, of which 30 % fail; later none do, but of the version "bad"
APP = staged.APP.replace("while (1) {", "my $served = 0;\nwhile (1) {", 1).replace(
    '"HTTP/1.1 200 OK',
    '"HTTP/1.1 " . ($path !~ /healthz/ && (rand() < ($version eq "bad" ? 0.5 : $served++ < '
    + str(YOUNG)
    + ' ? 0.3 : 0)) ? "500 Oops" : "200 OK") . "',
)
RATE = 150


def prepared(box: Box, text: str) -> tuple[Path, str]:
    """The project with its version 1 in production, and the address."""
    path = box.project(text, "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"})
    staged.built(box, path, "1")
    box.ok("promote", "gray", cwd=path)
    return path, box.json("promote", "production", cwd=path)["address"]


def running(box: Box, path: Path) -> dict[str, dict[str, Any]]:
    """The replicas that run, by their names."""
    rows = box.json("ps", "--stage", "production", cwd=path)
    return {row["name"]: row for row in rows if row["name"].startswith("web")}


def baseline(box: Box, path: Path) -> list[str]:
    return [name for name in running(box, path) if name.endswith("-baseline")]


def report(box: Box, path: Path) -> dict[str, Any]:
    done = box.run("release", "report", "--json", cwd=path)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def is_at(box: Box, path: Path, step: int) -> bool:
    found = report(box, path)
    return bool(found) and found["phase"] == "step" and found["step"] == step


@pytest.fixture
def begun(box: Box) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Promotions in processes of their own, which are ended when the test is."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for each in found:
        if each.poll() is None:
            each.kill()
            each.communicate()


def begin(box: Box, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        box.argv("promote", "gray", "--progress", "plain"),
        cwd=path,
        env=box.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.long
def test_issue10_8_a_baseline_runs_during_the_gray_release_and_is_removed_after_a_killed_controller(
    box: Box, begun: list[subprocess.Popen[bytes]]
):
    path, address = prepared(box, PATIENT)
    old = {row["digest"] for row in running(box, path).values()}
    staged.built(box, path, "2")
    with Load(address, connections=4, rate=RATE) as load:
        begun.append(begin(box, path))
        wait_until(lambda: is_at(box, path, 1), seconds=60, what="the first step")
        wait_until(lambda: report(box, path)["baseline"]["requests"] > 20, seconds=60, what="requests of the baseline")
        seen = running(box, path)
        fresh = {name: row for name, row in seen.items() if name.endswith("-baseline")}
        assert len(seen) == 6
        assert len(fresh) == 2
        assert {row["digest"] for row in fresh.values()} == old
        os.kill(begun[0].pid, signal.SIGKILL)
        said, _ = begun[0].communicate()
        assert b"part of the baseline: a new replica of stable" in said
        assert len(baseline(box, path)) == 2, "no process is there to end it"
        text = box.ok("release", "report", "--html", "report.html", "--svg", "report.svg", cwd=path)
        assert "old, fresh (baseline)" in text
        assert "BASELINE: FAILED" in text
        assert "baseline" in (path / "report.html").read_text()
        assert 'class="s-baseline"' in (path / "report.svg").read_text()
        box.ok("release", "abort", cwd=path)
    assert set(running(box, path)) == {name for name, row in seen.items() if row["digest"] in old} - set(fresh)
    assert {text.rpartition(": ")[2] for text in load.failed} <= {"500"}
    entries = [json.loads(line) for line in box.ok("release", "log", "--json", cwd=path).splitlines()]
    assert any("baseline" in entry["body"] for entry in entries if entry["kind"] == "gray")


@pytest.mark.long
def test_issue10_8_identical_code_that_fails_while_young_is_not_rolled_back(box: Box):
    path, address = prepared(box, FILE)
    with Load(address, connections=8, rate=RATE) as load:
        load.wait(30 * RATE)
        for version in ("2", "3", "4"):
            staged.built(box, path, version)
            box.ok("promote", "gray", cwd=path)
            assert len(baseline(box, path)) == 2, "it serves until the promotion"
            box.ok("promote", "production", cwd=path)
            assert baseline(box, path) == []
    found = report(box, path)
    assert found["phase"] == "stable"
    assert found["baseline"]["errors"] > 10, "the old code failed, too, where it was as young"
    assert found["canary"]["errors"] > 10


@pytest.mark.long
def test_issue10_8_the_same_code_is_rolled_back_where_it_is_compared_with_old_replicas(box: Box):
    """Justification of a fresh baseline: the same application, compared with stable's old replicas."""
    path, address = prepared(box, STABLE)
    with Load(address, connections=8, rate=RATE) as load:
        load.wait(60 * RATE, seconds=180)
        staged.built(box, path, "2")
        done = box.run("promote", "gray", cwd=path, timeout=400)
    assert done.returncode == 1
    assert b"was rolled back: errors" in done.stderr
    assert report(box, path)["baseline"] is None


@pytest.mark.long
def test_issue10_8_a_broken_release_is_rolled_back_and_its_baseline_removed(box: Box):
    path, address = prepared(box, PATIENT)
    with Load(address, connections=8, rate=RATE) as load:
        load.wait(30 * RATE)
        staged.built(box, path, "bad")
        done = box.run("promote", "gray", cwd=path, timeout=400)
        load.wait(20)
        load.bodies.clear()
        load.wait(100)
    assert done.returncode == 1
    assert b"of the baseline's" in done.stderr
    assert set(load.bodies) == {"1 info"}
    assert len(running(box, path)) == 2


@pytest.mark.parametrize(
    "command",
    [("down", "--stage", "production"), pytest.param(("promote", "gray"), marks=pytest.mark.long)],
    ids=["down", "promote"],
)
def test_issue10_8_after_a_kill_any_command_resumes(
    box: Box, begun: list[subprocess.Popen[bytes]], command: tuple[str, ...]
):
    """`down` stops the baseline as well; `promote` resumes with the same one."""
    path, address = prepared(box, FILE)
    staged.built(box, path, "2")
    with Load(address, connections=4, rate=RATE):
        begun.append(begin(box, path))
        wait_until(lambda: len(baseline(box, path)) == 2, seconds=60, what="the baseline")
        os.kill(begun[0].pid, signal.SIGKILL)
        begun[0].communicate()
        before = baseline(box, path)
        box.ok(*command, cwd=path)
        assert baseline(box, path) == ([] if command[0] == "down" else before)
        if command[0] == "promote":
            box.ok("promote", "production", cwd=path)
            assert baseline(box, path) == []
