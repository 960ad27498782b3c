"""Clients keep their side: a real HAProxy with the configuration of stages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gray.routers import KEY, Router, ask, routed, sides, wait_for

from devbox.deploy.haproxy import config, counters
from devbox.deploy.haproxy.cohort import SIDE_HEADER, SIDES, TRIP
from devbox.deploy.traffic import RouterBackend
from devbox.model.router import BLUE, GREEN, Cohort

RAMP = (100, 500, 2500, 5000, 10_000)
NAME = "shop_cohort"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("router")
    directory.chmod(0o755)
    with routed(directory, cohort=Cohort(key=KEY, cookie=NAME, header="X-User")) as found:
        yield found


@pytest.fixture
def router(running: Router):
    """The one router of these tests, its counters at zero, all traffic on blue."""
    running.lend(0)
    running.runtime.query(f"clear table {SIDES}")
    return running


def visitors(router: Router, count: int) -> list[dict[str, str]]:
    first = ask(router.port, [{}] * count)
    assert all(answer.cookie for answer in first)
    name = router.state.cohort.cookie
    return [{"Cookie": f"a=b; {name}={answer.cookie}"} for answer in first]


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_client_changes_back_while_the_weight_rises(router: Router, count: int):
    known = visitors(router, count)
    earlier: set[int] = set()
    for share in RAMP:
        router.lend(share)
        answers = ask(router.port, known)
        assert {answer.status for answer in answers} == {200}
        assert not any(answer.cookie for answer in answers)
        now = {number for number, answer in enumerate(answers) if answer.body == GREEN}
        assert earlier <= now
        assert len(now) == pytest.approx(share / 10_000 * count, abs=0.003 * count)
        earlier = now
    router.lend(0)
    assert sides(ask(router.port, known)) == {BLUE: count}


def test_clients_without_cookies_are_distributed_by_the_weight(router: Router):
    router.lend(2500)
    found = sides(ask(router.port, [{}] * 2000))
    assert found[GREEN] == pytest.approx(500, abs=6)


def test_a_client_identified_by_a_header_keeps_its_side_without_cookies(router: Router):
    users = [{"X-User": f"user-{number}"} for number in range(2000)]
    router.lend(1000)
    few = ask(router.port, users)
    router.lend(3000)
    more = ask(router.port, users)
    assert all(b.body == GREEN for a, b in zip(few, more, strict=True) if a.body == GREEN)
    assert sides(more)[GREEN] == pytest.approx(600, abs=80)  # hashed: as chance has it
    assert not any(answer.cookie for answer in more)


@pytest.mark.parametrize("cookie", ["1", "1.", "0.0", "17.AAAA", "-1.x", "999999999999999999999999.x"])
def test_a_forged_cookie_chooses_nothing(router: Router, cookie: str):
    router.lend(5000)
    (answer,) = ask(router.port, [{"Cookie": f"{NAME}={cookie}"}])
    assert answer.cookie
    assert answer.cookie.partition(".")[0] != cookie.partition(".")[0] or cookie.startswith("1")


def test_a_signature_by_another_key_does_not_count(router: Router):
    first, second = (answer.cookie for answer in ask(router.port, [{}, {}]))
    mixed = f"{first.partition('.')[0]}.{second.partition('.')[2]}"
    (answer,) = ask(router.port, [{"Cookie": f"{NAME}={mixed}"}])
    assert answer.cookie


def test_a_header_forces_a_side_and_is_counted_apart(router: Router):
    answers = ask(router.port, [{SIDE_HEADER: "canary"}, {SIDE_HEADER: "stable"}, {SIDE_HEADER: "nonsense"}])
    assert [answer.body for answer in answers] == [GREEN, BLUE, BLUE]
    counted = router.counted()
    assert counted["web.forced"].requests == 2
    assert counted["web.blue"].requests == 1


def test_what_is_counted_is_what_was_answered(router: Router):
    router.lend(5000)
    good = sides(ask(router.port, [{}] * 400))
    bad = sides(ask(router.port, [{}] * 10, path="/fails"))
    counted = router.counted()
    for side in (BLUE, GREEN):
        seen = counted[f"web.{side}"]
        assert (seen.requests, seen.errors) == (good[side] + bad[side], bad[side])
        assert sum(seen.times) == seen.requests


def test_a_traffic_lease_that_is_not_renewed_falls_back_to_the_safe_weight(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=Cohort(key=KEY), lease=1) as router:
        known = visitors(router, 1000)
        router.lend(5000, safe=100)
        wait_for(lambda: sides(ask(router.port, known))[GREEN] <= 15, router.directory)
        assert router.seen().has_expired(clock=0)
        assert router.seen().compute_share(clock=0) == 100
        router.lend(500, safe=100)  # what was lent before does not come up again: 5000 would show
        assert sides(ask(router.port, known))[GREEN] == pytest.approx(50, abs=4)


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_issue10_gray_a_lease_does_not_depend_on_the_clock_of_the_wall(tmp_path: Path, ahead: float):
    """Simulate a clock change right after a controller's death: back by an hour, or forward."""
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=Cohort(key=KEY), lease=2) as router:
        known = visitors(router, 1000)
        ground = RouterBackend(
            runtime=router.runtime,
            canary=GREEN,
            processes=(),
            keep=lambda _share: None,
            restarts=lambda: 0,
            clock=lambda: time.time() + ahead,
        )
        ground.lease_share(threshold=5000, safe=100)
        assert ground.read_stats().threshold == 5000
        assert sides(ask(router.port, known))[GREEN] == pytest.approx(500, abs=25)
        wait_for(lambda: sides(ask(router.port, known))[GREEN] <= 15, router.directory)
        assert ground.read_stats().threshold == 100


def test_the_router_itself_shuts_out_a_canary_at_which_all_fails(router: Router):
    router.lend(10_000)
    failed = ask(router.port, [{}] * (TRIP * 3), path="/fails/green")
    assert TRIP <= sum(answer.status == 500 for answer in failed) <= TRIP + 2
    assert {answer.body for answer in failed[-TRIP:]} == {BLUE}
    assert counters.find_shut_out(router.runtime.query(counters.ASK)) == ["web.green"]
    assert sides(ask(router.port, [{}] * 50 + [{SIDE_HEADER: "canary"}])) == {BLUE: 51}


def test_a_restarted_router_follows_its_file(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=Cohort(key=KEY), share=500) as router:
        assert sides(ask(router.port, [{}] * 1000))[GREEN] == pytest.approx(50, abs=4)
        assert (tmp_path / config.SHARE).read_text().startswith("green 500\n")


def test_sides_are_alike(tmp_path: Path):
    """The second release goes from green to blue: the share falls from 10,000, and the canary is blue."""
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=Cohort(key=KEY), share=10_000, canary=BLUE) as router:
        router.lend(9500, safe=10_000)
        answers = ask(router.port, [{}] * 1000 + [{SIDE_HEADER: "canary"}])
        assert sides(answers[:-1])[BLUE] == pytest.approx(50, abs=4)
        assert answers[-1].body == BLUE


def test_clients_of_a_dead_canary_are_answered_by_stable(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=Cohort(key=KEY), share=10_000) as router:
        assert sides(ask(router.port, [{}] * 10)) == {GREEN: 10}
        router.services[GREEN].kill()
        router.services[GREEN].wait()
        answers = ask(router.port, [{}] * 15)
        assert {(answer.status, answer.body) for answer in answers} == {(200, BLUE)}
        assert router.counted()["web.green"].errors == 15
