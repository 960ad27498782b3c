"""Gray releases that do not simply progress: rolled back in the bake, superseded, without a controller, stopped."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from gray.proof import shop as shops
from gray.proof.drive import proof
from gray.proof.shop import Shop
from gray.routers import ask
from support.load import Load
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

BASE = shops.FILE.replace("rehearse = true\n", "").replace("[1, 5, 25, 50]", "[50]").replace('"2s"', '"1s"')
BAKES = BASE.replace('bake = "3s"', 'bake = "300s"')
WHOLE = BASE.partition("[stage.gray]")[0].replace('"gray", "production"', '"production"') + (
    '[stage.production]\nenv = { LEVEL = "info" }\n'
    "[stage.production.strategy]" + BASE.partition("[stage.gray.strategy]")[2].partition("[stage.production]")[0]
)
VISITORS = 10_000


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands that are ended when the test is."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for each in found:
        if each.poll() is None:
            each.kill()
        each.wait()


def phase(shop: Shop) -> str:
    gray_release = shop.trials.read()
    return gray_release.rollout.phase if gray_release else ""


def served(load: Load, requests: int = 60) -> set[str]:
    """The response bodies of the next requests."""
    load.wait(20)
    load.bodies.clear()
    load.wait(requests)
    return set(load.bodies)


def took(load: Load, begun: float) -> str:
    """Duration of a rollback, and the time until the last response of the new release."""
    away = load.last["2 debug"] - begun
    return f"{time.monotonic() - begun:.1f} s, all visitors back after {away:.1f} s"


def test_a_rollback_within_the_bake_brings_back_image_and_config_at_once(
    box: Box, started: list[subprocess.Popen[bytes]]
):
    shop = Shop.opened(box, BAKES)
    shop.built("2")
    (shop.path / "devbox.toml").write_text(BAKES.replace('"info"', '"debug"'))
    with Load(shop.address, connections=6, rate=100) as load:
        shop.ok("promote", "gray")
        running = shop.begin("promote", "production")
        started.append(running)
        wait_until(lambda: phase(shop) == "bake", seconds=120, what="the bake")
        wait_until(lambda: served(load) == {"2 debug"}, seconds=60, what="all visitors on the new release")
        begun = time.monotonic()
        moved = json.loads(shop.ok("rollback", "production", "--json"))
        print(f"rollback within the bake: {took(load, begun)}")
        assert served(load) == {"1 info"}
    assert load.failed == []
    assert running.wait(60) == 1
    assert moved["changed"] is True
    assert shop.entries()[-1].kind == "failed"
    assert len(shop.releases()) == 1


@pytest.mark.long
def test_a_rollback_after_completion_brings_back_image_and_config(box: Box):
    shop = Shop.opened(box, BASE)
    shop.built("2")
    (shop.path / "devbox.toml").write_text(BASE.replace('"info"', '"debug"'))
    with Load(shop.address, connections=6, rate=100) as load:
        shop.ok("promote", "gray")
        shop.ok("promote", "production")
        assert served(load) == {"2 debug"}
        begun = time.monotonic()
        shop.ok("rollback", "production")
        print(f"rollback after completion: {took(load, begun)}")
        assert served(load) == {"1 info"}
    assert load.failed == []


@pytest.mark.long
def test_a_rollback_is_admitted_if_the_stage_s_data_is_missing(box: Box):
    shop = Shop.opened(box, BASE)
    shop.ok("down", "--stage", "production", "--volumes", "--confirm", "production")
    shop.built("2")
    shop.ok("promote", "gray")
    shop.ok("promote", "production")
    shop.ok("rollback", "production")
    with Load(shop.address, connections=2, rate=20) as load:
        assert served(load, 20) == {"1 info"}


def test_a_production_that_is_gray_itself_does_all_in_one_and_a_newer_release_queues(
    box: Box, started: list[subprocess.Popen[bytes]]
):
    shop = Shop(box, box.project(WHOLE, "greeter", {"greeter/app.pl": shops.APP, "greeter/version": "1\n"}))
    shop.built("1")
    shop.ok("promote", "production")
    second = shop.built("2")
    known = shop.entries()[-1].seq
    with Load(shop.address, connections=6, rate=100) as load:
        started.append(shop.begin("promote", "production", second))
        wait_until(lambda: phase(shop) == "step", seconds=120, what="the first step")
        third = shop.built("3")
        started.append(shop.begin("promote", "production", third))
        assert [each.wait(300) for each in started] == [0, 0]
        assert served(load) == {"3 info"}
    assert load.failed == []
    assert shop.phases(known) == ["step", "bake", "stable"] * 2
    assert [entry.release for entry in shop.entries() if entry.kind == "applied"][-2:] == [second, third]


@pytest.mark.long
def test_what_is_irreversible_stops_and_is_not_rolled_back(box: Box, started: list[subprocess.Popen[bytes]]):
    text = BASE.replace("margin = 0.3", "margin = 0.1").replace("bake =", "irreversible = true\nbake =")
    shop = Shop.opened(box, text)
    shop.built("bad")
    with Load(shop.address, connections=6, rate=100) as load:
        started.append(shop.begin("promote", "gray"))
        wait_until(lambda: phase(shop) == "needs_human", seconds=120, what="the call for a person")
        said = shop.run("release", "abort")
        assert (said.returncode, phase(shop)) == (1, "needs_human")
        assert {"1 info", "bad info"} <= served(load)


@pytest.mark.long
def test_without_clients_a_release_holds_then_requires_an_operator(box: Box, started: list[subprocess.Popen[bytes]]):
    shop = Shop.opened(box, BASE.replace("bake =", 'timeout = "3s"\nbake ='))
    shop.built("2")
    started.append(shop.begin("promote", "gray"))
    wait_until(lambda: phase(shop) == "needs_human", seconds=120, what="the call for a person")
    gray_release = shop.trials.read()
    assert gray_release is not None
    assert (gray_release.rollout.before, gray_release.rollout.step) == ("step", 0)
    shop.ok("release", "abort")
    assert started[0].wait(60) == 1


@pytest.mark.long
@pytest.mark.parametrize("version", ["crash", "ill"])
def test_a_canary_that_becomes_unhealthy_is_rolled_back(box: Box, version: str):
    shop = Shop.opened(box, BASE.replace("min_requests = 20", "min_requests = 100000"))
    shop.built(version)
    with Load(shop.address, connections=6, rate=100) as load:
        done = shop.run("promote", "gray")
        assert done.returncode == 1
        gray_release = shop.trials.read()
        assert gray_release is not None
        print(
            f"{version}: {gray_release.rollout.reason}, after {gray_release.canary.requests} of the canary's requests"
        )
        assert gray_release.rollout.phase == "aborted"
        assert served(load) == {"1 info"}
    assert not [text for text in load.failed if text.startswith("GET")]


@pytest.mark.long
def test_a_stage_stopped_meanwhile_restarts_with_its_old_release(box: Box, started: list[subprocess.Popen[bytes]]):
    """Simulate a reboot: no process survives, the gray release stays recorded."""
    shop = Shop.opened(box, BASE.replace("min_requests = 20", "min_requests = 100000"))
    shop.built("2")
    running = shop.begin("promote", "gray")
    started.append(running)
    wait_until(lambda: phase(shop) == "step", seconds=120, what="the first step")
    shops.kill(running.pid)
    running.wait()
    shop.ok("down", "--stage", "production")
    done = shop.run("promote", "gray")
    assert done.returncode == 1
    assert b"the environment was stopped meanwhile" in done.stderr
    with Load(shop.address, connections=2, rate=50) as load:
        assert served(load) == {"1 info"}
    assert len(shop.releases()) == 1


@pytest.mark.long
def test_issue10_gray_a_stage_stopped_while_a_release_waits_restarts_with_its_old_one(box: Box):
    """Every command failed then, since the router did not answer how the waiting release was."""
    shop = Shop.opened(box, BASE)
    shop.built("2")
    with Load(shop.address, connections=2, rate=50):
        shop.ok("promote", "gray")
    assert phase(shop) == "hold"
    shop.ok("down", "--stage", "production")
    done = shop.run("promote", "gray")
    assert done.returncode == 1
    assert b"the environment was stopped meanwhile" in done.stderr
    with Load(shop.address, connections=2, rate=50) as load:
        assert served(load) == {"1 info"}
        shop.ok("promote", "gray")
        shop.ok("promote", "production")


@pytest.mark.long
def test_a_hold_keeps_a_waiting_release_from_production(box: Box):
    shop = Shop.opened(box, BASE)
    shop.built("2")
    with Load(shop.address, connections=6, rate=100) as load:
        shop.ok("promote", "gray")
        assert json.loads(shop.ok("release", "hold", "--json"))["held"] is True
        said = shop.run("promote", "production")
        assert said.returncode == 2
        assert b"is held" in said.stderr
        assert served(load) == {"1 info", "2 info"}
        assert json.loads(shop.ok("release", "resume", "--json"))["held"] is False
        shop.ok("promote", "production")
        assert served(load) == {"2 info"}
    assert load.failed == []


@pytest.mark.long
def test_10_000_clients_keep_their_side_during_a_release_and_return_after_a_rollback(
    box: Box, started: list[subprocess.Popen[bytes]]
):
    shop = Shop.opened(box, shops.FILE.replace("rehearse = true\n", "").replace('min_time = "2s"', 'min_time = "10s"'))
    shop.built("2")
    port = int(shop.address.rpartition(":")[2])
    known = [{"Cookie": f"devbox_cohort={answer.cookie}"} for answer in ask(port, [{}] * VISITORS)]
    assert len({each["Cookie"] for each in known}) == VISITORS

    def on_the_new() -> set[int]:
        answers = ask(port, known)
        assert {answer.status for answer in answers} == {200}
        assert not any(answer.cookie for answer in answers)
        return {number for number, answer in enumerate(answers) if answer.body == "2 info"}

    started.append(shop.begin("promote", "gray"))
    seen = [on_the_new()]
    while phase(shop) != "hold":
        seen.append(on_the_new())
        assert phase(shop) in ("warm", "step", "hold", "stable")  # stable: the one before, still
    seen.append(on_the_new())
    assert all(earlier <= later for earlier, later in itertools.pairwise(seen))
    assert len(seen[-1]) == pytest.approx(VISITORS / 2, abs=0.003 * VISITORS)
    print(f"on the new release: {[len(each) for each in seen]} of {VISITORS}")
    shop.ok("release", "abort")
    assert on_the_new() == set()


@pytest.mark.long
def test_issue10_11_12_300_000_requests_through_whatever_happens_to_gray_releases(box: Box):
    assert sum(row.requests for row in proof(box, requests=300_000, long=120)) >= 300_000
