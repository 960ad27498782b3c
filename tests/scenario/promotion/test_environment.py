"""A stage: releases by digest behind a router that keeps its address and loses no request."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest
from support import staged
from support.load import Load
from support.machine import Box, wait_until

from devbox.isolation.liveness import identify, is_alive

pytestmark = pytest.mark.scenario


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def replicas(box: Box, path: Path, process: str = "web") -> dict[str, dict[str, object]]:
    rows = box.json("ps", "--stage", "staging", cwd=path)
    return {row["name"]: row for row in rows if row["name"].startswith(f"{process}-")}


def test_a_release_runs_by_digest_and_the_next_one_takes_over_without_a_lost_request(any_box: Box):
    box = any_box
    path = staged.project(box)
    first = staged.built(box, path, "1")
    seen = staged.deploy(box, path, first)
    assert (seen["release"], seen["healthy"]) == (first["release"], True)
    assert set(seen["digests"].values()) == {first["digest"]}
    assert get(seen["address"]) == "1 info"
    assert len(replicas(box, path)) == 2
    assert box.ok("open", "--stage", "staging", cwd=path).strip() == seen["address"]
    assert box.ok("exec", "--stage", "staging", "web", "--", "printenv", "TOKEN", cwd=path) == "geheim\n"
    assert "migrated by 1" in box.ok("logs", "--stage", "staging", "migrate", cwd=path)
    assert box.ps(path) == {}

    second = staged.built(box, path, "2")
    with Load(seen["address"], connections=8, rate=200) as load:
        load.wait(100)
        after = staged.deploy(box, path, second, strategy="blue-green")
        load.wait(100)
        again = staged.deploy(box, path, first, strategy="rolling")
        load.wait(100)
    assert (load.failed, sum(load.bodies.values())) == ([], load.requests)
    assert load.bodies.keys() == {"1 info", "2 info"}
    assert sorted(staged.executed(box, path)) == sorted(load.posted)
    assert (after["release"], after["address"]) == (second["release"], seen["address"])
    assert seen["counts"]["router"] == after["counts"]["router"] == again["counts"]["router"]
    assert set(again["counts"]["lost"].values()) == {0}
    assert replicas(box, path, "migrate") == {}  # its jobs are done, and data may be newer by now
    assert (again["release"], set(again["digests"].values())) == (first["release"], {first["digest"]})
    box.ok("down", "--stage", "staging", cwd=path)
    assert box.json("ps", "--stage", "staging", cwd=path) == []


def test_a_release_whose_job_fails_gets_no_traffic_and_leaves_what_ran(box: Box):
    path = staged.project(box)
    first = staged.built(box, path, "1")
    address = staged.deploy(box, path, first)["address"]
    bad = staged.built(box, path, "broken")
    with Load(address, connections=4, rate=50) as load:
        failing = staged.start(box, path, "deploy", bad["release"])
        _, said = failing.communicate(timeout=120)
    assert failing.returncode != 0
    assert "migrate" in said.decode()
    assert (load.failed, set(load.bodies)) == ([], {"1 info"})
    seen = staged.observe(box, path)
    assert (seen["release"], seen["healthy"], set(seen["digests"].values())) == (
        first["release"],
        True,
        {first["digest"]},
    )


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "recreate"])
def test_a_release_that_keeps_crashing_is_undone(box: Box, strategy: str):
    path = staged.project(box)
    first = staged.built(box, path, "1")
    address = staged.deploy(box, path, first)["address"]
    bad = staged.built(box, path, "crash")
    with Load(address, connections=4, rate=50) as load:
        failing = staged.start(box, path, "deploy", bad["release"], strategy=strategy)
        _, said = failing.communicate(timeout=120)
    assert failing.returncode != 0
    assert "keeps crashing: exit code 3" in said.decode()
    if strategy != "recreate":
        assert (load.failed, set(load.bodies)) == ([], {"1 info"})
    seen = staged.observe(box, path)
    assert (seen["release"], seen["healthy"], get(address)) == (first["release"], True, "1 info")
    assert set(seen["digests"].values()) == {first["digest"]}


def test_a_release_that_does_not_match_its_digest_gets_no_traffic_and_is_reported(box: Box):
    path = staged.project(box)
    first = staged.built(box, path, "1")
    address = staged.deploy(box, path, first)["address"]
    assert box.run("ps", "--stage", "staging", cwd=path).returncode == 0
    name = next(name for name in replicas(box, path) if name.startswith("web-1-"))
    kept = running(box, path) / "kept" / f"{name}.json"
    told = json.loads(kept.read_text())
    told["launch"]["lowers"] = told["launch"]["lowers"][1:]
    kept.write_text(json.dumps(told))
    drifted = box.run("ps", "--stage", "staging", cwd=path)
    assert drifted.returncode == 3
    assert name in drifted.stderr.decode()
    wait_until(lambda: b"it gets no traffic" in box.run("ps", "--stage", "staging", cwd=path).stderr, what="the guard")
    (router,) = Path(f"{box.home}-config").glob(f"homes/*/files/projects/{running(box, path).name}/router/haproxy.cfg")
    assert (f"server {name} " in router.read_text(), get(address)) == (False, "1 info")
    wait_until(lambda: told_of_drift(box, path) == [name], what="the entry of the ledger")
    assert name in staged.deploy(box, path, first)["digests"]
    assert box.run("ps", "--stage", "staging", cwd=path).returncode == 0
    assert (f"server {name} " in router.read_text(), told_of_drift(box, path)) == (True, [name])

    second = staged.built(box, path, "to be changed")
    digits = second["digest"].removeprefix("sha256:")
    blob = box.home / "oci/blobs/sha256" / digits
    blob.write_bytes(blob.read_bytes().replace(b"linux", b"linuX"))
    refused = staged.start(box, path, "deploy", second["release"])
    _, said = refused.communicate(timeout=120)
    assert refused.returncode != 0
    assert "digest mismatch" in said.decode()
    assert get(address) == "1 info"


def told_of_drift(box: Box, path: Path) -> list[str]:
    """The containers for which the ledger records a drift."""
    entries = [json.loads(line) for line in box.ok("release", "log", "--json", cwd=path).splitlines()]
    return [entry["body"]["container"] for entry in entries if entry["kind"] == "drifted"]


def running(box: Box, path: Path) -> Path:
    """The runtime directory of the stage."""
    places = {each.parent.name: json.loads(each.read_text()) for each in box.home.glob("projects/*/place.json")}
    key = next(key for key, place in places.items() if place.get("stage") and place["root"] == str(path.resolve()))
    return next(
        found for base in ("/run", "/dev/shm", "/tmp") for found in Path(base).glob(f"devbox-[0-9]*/{box._tag()}/{key}")
    )


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_a_minute_of_load_loses_nothing_and_executes_every_post_once(box: Box, strategy: str):
    """Must show 7 of issue 8: 50,000 requests and more, releases taking over from each other all the time."""
    path = staged.project(box)
    releases = [staged.built(box, path, version) for version in ("1", "2", "3")]
    address = staged.deploy(box, path, releases[0])["address"]
    began, turn = time.monotonic(), 0
    with Load(address, connections=32, rate=1000) as load:
        while time.monotonic() - began < 60 or load.requests < 50_000:
            turn += 1
            seen = staged.deploy(box, path, releases[turn % 3], strategy=strategy)
            assert seen["release"] == releases[turn % 3]["release"]
            load.wait(2000)
    print(f"{strategy}: {load.requests} requests, {len(load.posted)} POSTs, {turn} releases, {len(load.failed)} failed")
    assert load.failed == []
    assert load.requests >= 50_000
    assert load.bodies.keys() == {"1 info", "2 info", "3 info"}
    assert sorted(staged.executed(box, path)) == sorted(load.posted)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "recreate"])
def test_after_a_kill_at_any_step_the_next_call_resumes_or_rolls_back(box: Box, strategy: str):
    path = staged.project(box)
    first, second = staged.built(box, path, "1"), staged.built(box, path, "2")
    address = staged.deploy(box, path, first)["address"]
    at = 0
    with Load(address, connections=4, rate=100) as load:
        while staged.killed_at(box, path, second["release"], step=at, strategy=strategy):
            goal = second if at % 2 else first
            seen = staged.deploy(box, path, goal, strategy=strategy)
            assert (seen["release"], seen["healthy"]) == (goal["release"], True), f"step {at}"
            assert set(seen["digests"].values()) == {goal["digest"]}, f"step {at}"
            staged.deploy(box, path, first, strategy=strategy)
            at += 1
    assert at >= 6
    if strategy != "recreate":
        assert load.failed == []
    assert sorted(staged.executed(box, path)) == sorted(load.posted)


@pytest.mark.long
def test_what_is_changed_between_a_kill_and_the_next_call_gets_no_traffic(box: Box):
    """Must show 4 of issue 8: killed when all of a release is ready and none of it serves; then it is another thing."""
    path = staged.project(box)
    first, second = staged.built(box, path, "1"), staged.built(box, path, "2")
    address = staged.deploy(box, path, first)["address"]
    with Load(address, connections=4, rate=50) as load:
        assert staged.killed_at(box, path, second["release"], step=0, op="admit", strategy="blue-green")
        ready = [name for name, row in replicas(box, path).items() if row["digest"] == second["digest"]]
        assert len(ready) == 2
        for name in ready:
            kept = running(box, path) / "kept" / f"{name}.json"
            told = json.loads(kept.read_text())
            told["launch"]["lowers"] = told["launch"]["lowers"][1:]
            kept.write_text(json.dumps(told))
        wait_until(lambda: sorted(told_of_drift(box, path)) == sorted(ready), what="the guard")
        load.wait(50)
        assert load.bodies.keys() == {"1 info"}
        pids = {replicas(box, path)[name]["pid"] for name in ready}
        seen = staged.deploy(box, path, second, strategy="blue-green")
        load.wait(50)
    assert set(seen["digests"].values()) == {second["digest"]}
    assert pids.isdisjoint({row["pid"] for row in replicas(box, path).values()}), "proven ones took their places"
    assert (load.failed, load.bodies.keys()) == ([], {"1 info", "2 info"})


def test_issue9_a5_a_stage_without_its_supervisor_answers_again_without_a_command(box: Box):
    path = staged.project(box)
    first = staged.built(box, path, "1")
    address = staged.deploy(box, path, first)["address"]
    before = json.loads((running(box, path) / "state.json").read_text())
    pids = [row["pid"] for row in box.json("ps", "--stage", "staging", cwd=path) if row["pid"]]
    kill([before["supervisor"]["pid"], *pids])
    wait_until(lambda: answers(address) == "1 info", seconds=60, what="the stage's return")
    after = json.loads((running(box, path) / "state.json").read_text())
    assert after["supervisor"] != before["supervisor"]


@pytest.mark.long
def test_a_killed_router_and_supervisor_restart_with_the_safe_weight(box: Box):
    path = staged.project(box)
    first, second = staged.built(box, path, "1"), staged.built(box, path, "2")
    address = staged.deploy(box, path, first)["address"]
    staged.deploy(box, path, second, strategy="blue-green")
    router = box.json("ps", "--stage", "staging", "router", cwd=path)[0]
    kill([router["pid"]])
    wait_until(lambda: answers(address) == "2 info", what="the router's return")
    supervisor = json.loads((running(box, path) / "state.json").read_text())["supervisor"]
    kill([supervisor["pid"]])
    assert get(address) == "2 info"
    seen = staged.deploy(box, path, first, strategy="rolling")
    assert (seen["release"], seen["address"], get(address)) == (first["release"], address, "1 info")


def kill(pids: list[int]) -> None:
    """Kill processes, and wait until they have ended.

    A container's pid 1 ends all others of its own only when it gets to run: until then the stage may answer as before.
    """
    killed = [process for pid in pids if (process := identify(pid))]
    assert len(killed) == len(pids)
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, killed)), what="the end of what was killed")


def answers(address: str) -> str:
    try:
        return get(address)
    except OSError:
        return ""


NEEDY = """
[project]
name = "needy"

[base.os]
recipe = "debian"

[service.cache]
recipe = "redis"

[build]
from = "os"
inputs = ["serve.pl"]
run = ["mkdir dist && cp serve.pl dist/"]
output = ["dist"]

[image]
from = "os"
copy = { dist = "/srv" }
needs = { cache = { REDIS_URL = "QUEUE_URL" } }

[image.process.web]
command = "exec perl /srv/serve.pl"
ports = [8000]

[stage.staging]
"""

SERVE = r"""
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(LocalPort => 8000, Listen => 9, ReuseAddr => 1) or die;
while (my $client = $socket->accept) {
    while (<$client>) { last if /^\r?$/ }
    print $client "HTTP/1.0 200 OK\r\n\r\n$ENV{QUEUE_URL}";
    close $client;
}
"""


@pytest.mark.long
def test_a_stage_has_services_of_its_own_or_what_is_met_outside(box: Box):
    path = box.project(NEEDY, "needy", {"serve.pl": SERVE})
    release = box.json("build", cwd=path)
    seen = staged.deploy(box, path, release)
    assert get(seen["address"]).startswith("redis://")
    rows = {row["name"]: row for row in box.json("ps", "--stage", "staging", cwd=path)}
    assert (rows["cache"]["health"], rows["cache"]["ports"]) == ("healthy", [])
    outside = staged.deploy(box, path, release, external={"cache": {"REDIS_URL": "env:STAGING_TOKEN"}})
    assert (get(outside["address"]), outside["address"]) == ("geheim", seen["address"])
    assert "cache" not in {row["name"] for row in box.json("ps", "--stage", "staging", cwd=path)}
    kept = [each for each in box.home.rglob("*") if each.is_file() and each.stat().st_size < 1 << 20]
    assert not [each for each in kept if b"geheim" in each.read_bytes()]
