"""A baseline behind a real HAProxy: it has as many clients as the canary and keeps them while the weight rises."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gray.routers import KEY, Router, ask, routed, sides, wait_for

from devbox.deploy.haproxy import converge, metrics
from devbox.deploy.haproxy.cohort import SIDE_HEADER, TRIP
from devbox.deploy.traffic import RouterBackend
from devbox.model.router import BASELINE, BLUE, GREEN, Cohort, RouterState, Server
from devbox.model.traffic import BASELINE as FRESH
from devbox.model.traffic import CANARY, STABLE

COHORT = Cohort(key=KEY, baseline=True)
NAME = COHORT.cookie
COUNT = 1_000


@pytest.fixture(scope="module", params=[GREEN, BLUE])
def router(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router with either side as the canary, without traffic so far."""
    directory = tmp_path_factory.mktemp("router")
    directory.chmod(0o755)
    share = 0 if request.param == GREEN else 10_000
    with routed(directory, cohort=COHORT, canary=request.param, share=share) as found:
        yield found


def ground(router: Router) -> RouterBackend:
    return RouterBackend(
        runtime=router.runtime,
        canary=router.state.canary,
        processes=("web",),
        keep=lambda _share: None,
        restarts=lambda: 0,
        baseline=True,
    )


def visitors(router: Router) -> list[dict[str, str]]:
    return [{"Cookie": f"{NAME}={answer.cookie}"} for answer in ask(router.port, [{}] * COUNT)]


@pytest.fixture
def stable(router: Router) -> str:
    return BLUE if router.state.canary == GREEN else GREEN


def test_issue10_8_a_baseline_has_as_many_clients_as_the_canary_and_keeps_them(router: Router, stable: str):
    looked, known = ground(router), visitors(router)
    looked.lease_share(threshold=0, safe=0)
    assert sides(ask(router.port, known)) == {stable: COUNT}
    earlier: dict[str, set[int]] = {router.state.canary: set(), BASELINE: set()}
    for share in (100, 500, 2500, 5000):
        looked.lease_share(threshold=share, safe=share)
        answers = ask(router.port, known)
        assert {answer.status for answer in answers} == {200}
        for side, before in earlier.items():
            now = {number for number, answer in enumerate(answers) if answer.body == side}
            assert len(now) == pytest.approx(share / 10_000 * COUNT, abs=4)
            assert before <= now, "a visitor comes back to stable"
            earlier[side] = now


def test_issue10_8_above_50_percent_the_baseline_has_the_rest_and_at_100_percent_no_client(router: Router):
    looked = ground(router)
    for share, rest in ((7500, 2500), (10_000, 0)):
        looked.lease_share(threshold=share, safe=share)
        found = sides(ask(router.port, [{}] * COUNT))
        assert found[BASELINE] == pytest.approx(rest / 10_000 * COUNT, abs=4)
        assert found[router.state.canary] == pytest.approx(share / 10_000 * COUNT, abs=4)


def test_issue10_8_it_is_counted_by_itself(router: Router, stable: str):
    looked = ground(router)
    looked.lease_share(threshold=2500, safe=2500, generation=7)
    began = int(time.time())
    wait_for(lambda: time.time() > began + 1.1, router.directory)  # what others asked before is in earlier seconds
    before = looked.read_stats()
    looked.read_seconds(after=began)
    found = sides(ask(router.port, [{}] * 400))
    seen = looked.read_stats()
    assert seen.baseline is not None
    assert (seen.baseline_healthy, seen.baseline_replicas, seen.baseline_tripped) == (True, 1, False)
    batch = seen.count_since(before)
    assert {"canary": batch.canary.requests, "stable": batch.stable.requests, "baseline": batch.baseline.requests} == {
        "canary": found[router.state.canary],
        "stable": found[stable],
        "baseline": found[BASELINE],
    }
    end = int(time.time())
    wait_for(lambda: time.time() > end + 1.5, router.directory)
    by_side = {
        side: sum(each.requests for each in looked.read_seconds(after=began) if each.side == side)
        for side in (CANARY, STABLE, FRESH)
    }
    assert by_side == {CANARY: batch.canary.requests, STABLE: batch.stable.requests, FRESH: batch.baseline.requests}
    without = replace(looked, baseline=False, before={})
    assert {each.side for each in without.read_seconds(after=began)} == {CANARY, STABLE}


def test_issue10_8_prometheus_exports_the_baseline(router: Router):
    looked = ground(router)
    for share, rest in ((2500, 25), (7500, 25), (0, 0)):
        looked.lease_share(threshold=share, safe=share)
        with urllib.request.urlopen(f"http://127.0.0.1:{router.lives}{metrics.PATH}", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        ratio = {
            line.split('side="')[1].partition('"')[0]: float(line.split()[-1])
            for line in lines
            if line.startswith("devbox_visitors_ratio{")
        }
        assert ratio == {"canary": share / 10_000, "baseline": rest / 100, "stable": 1 - share / 10_000 - rest / 100}
    assert any(
        line.startswith('devbox_requests_total{process="web",color="baseline",side="baseline"}') for line in lines
    )


def test_issue10_8_testers_choose_the_old_replicas(router: Router, stable: str):
    ground(router).lease_share(threshold=5000, safe=5000)
    assert sides(ask(router.port, [{SIDE_HEADER: "stable"}] * 20)) == {stable: 20}


def test_issue10_8_an_expired_traffic_lease_removes_the_baseline_as_well(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=COHORT, lease=1) as router:
        router.lend(5000, safe=100)
        known = visitors(router)
        wait_for(lambda: sides(ask(router.port, known))[BASELINE] <= 14, tmp_path)
        assert sides(ask(router.port, known))[BLUE] >= 970


def test_issue10_8_clients_of_a_dead_baseline_are_answered_by_stable(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=COHORT, share=5000) as router:
        looked = ground(router)
        assert sides(ask(router.port, [{}] * 10)) == {GREEN: 5, BASELINE: 5}
        before = looked.read_stats()
        router.services[BASELINE].kill()
        router.services[BASELINE].wait()
        answers = ask(router.port, [{}] * 10)
        assert {(answer.status, answer.body) for answer in answers} == {(200, BLUE), (200, GREEN)}
        seen = looked.read_stats()
        assert seen.count_since(before).baseline.errors == 5, "they count as failures of the baseline"
        assert (seen.baseline_healthy, seen.stable_healthy) == (False, True)


def test_issue10_8_a_baseline_that_fails_row_by_row_is_shut_out_and_opened_again(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=COHORT, share=5000) as router:
        looked = ground(router)
        ask(router.port, [{}] * (TRIP * 3), path="/fails/baseline")
        seen = looked.read_stats()
        assert (seen.baseline_tripped, seen.tripped) == (True, False)
        assert set(sides(ask(router.port, [{}] * 10))) == {GREEN, BLUE}
        looked.reopen()
        assert looked.read_stats().baseline_tripped
        looked.reopen(baseline=True)
        assert set(sides(ask(router.port, [{}] * 10))) == {GREEN, BASELINE}


def test_issue10_8_servers_of_a_baseline_come_and_go_while_the_router_runs(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=COHORT, share=5000) as router:
        without = router.state.remove_servers(frozenset({"web-3"}))
        for place in converge.find_superfluous(without, router.seen()):
            for command in ("set server {} state maint", "del server {}"):
                router.runtime.execute(command.format(place))
        assert "web.baseline" not in router.seen().servers
        assert sides(ask(router.port, [{}] * 10)) == {GREEN: 5, BLUE: 5}, "no client is sent where no server is"
        (server,) = router.state.fronts[0].baseline
        again: RouterState = without.add_servers(
            "web", BASELINE, (Server(name="web-4", address=server.address, port=server.port),)
        )
        for command in converge.plan_admissions(again, router.seen()):
            router.runtime.execute(command)
        assert set(router.seen().servers["web.baseline"]) == {"web-4", "rescue-web-1"}
        # A new server that answers too late once is down until it is checked again.
        wait_for(lambda: sides(ask(router.port, [{}] * 10))[BASELINE] == 5, tmp_path, seconds=60)
