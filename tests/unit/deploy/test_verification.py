"""Verification of a release that has the traffic, and rollback if it is unhealthy."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from devbox.deploy import verification
from devbox.deploy.actions import RolloutActions
from devbox.deploy.verification import (
    COMING,
    DEFAULT,
    ENDED,
    RECOVERY,
    UNHEALTHY,
    UNREACHED,
    WELL,
    HealthSample,
    Observation,
    count_responses,
    find_duration,
)
from devbox.model.observed import ObservedContainer
from devbox.model.stage import Stage
from devbox.model.traffic import Side

STAT = """# pxname,svname,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other
web,FRONTEND,0,900,0,0,900,0
web.green,web-1-new,0,90,5,3,2,0
web.green,panic-web-1-new,,7,,,1,
web.green,BACKEND,0,900,0,0,900,0
web.blue,web-1-old,0,50,0,0,0,0
devbox.lives,x,0,9,0,0,9,0
"""

RUNNING = {
    "name": "web-1",
    "role": "run",
    "state": "running",
    "health": "healthy",
    "image": "",
    "digest": "",
    "pid": None,
    "spec_key": "",
    "image_key": "",
}


def look(
    condition: str = WELL, *, restarts: int = 0, requests: int = 0, failed: int = 0, router: str = "r1"
) -> HealthSample:
    return HealthSample(
        conditions={"web-1": condition},
        restarts={"web-1": restarts},
        traffic=Side(requests=requests, errors=failed),
        router=router,
    )


def said(
    *looks: HealthSample, first: HealthSample | None = None, before: Side | None = None, pause: float = 0.5
) -> str:
    """The first fault found in consecutive observations."""
    observation = Observation(first or look(), at=0, before=before or Side())
    faults = (observation.update(now, at=pause * number) for number, now in enumerate(looks, start=1))
    return next(filter(None, faults), "")


def test_a_health_check_that_fails_twice_is_a_fault():
    assert said(look(UNHEALTHY)) == ""
    assert said(look(UNHEALTHY), look(UNHEALTHY)) == "web-1 failed the health check"
    assert said(look(), look(UNREACHED), look(UNREACHED)) == "web-1 failed the health check"


def test_issue10_verify_a_release_that_fails_every_other_check_is_unhealthy():
    flaps = (look(), look(UNHEALTHY)) * 2
    assert said(*flaps) == "web-1 failed the health check 2 times"
    assert said(*((look(), look(UNREACHED)) * 2)) == "web-1 failed the health check 2 times"
    two = [
        HealthSample(conditions={"a": a, "b": b}, restarts={}, traffic=Side())
        for a, b in ((UNHEALTHY, WELL), (WELL,) * 2)
    ]
    two += [HealthSample(conditions={"a": WELL, "b": UNHEALTHY}, restarts={}, traffic=Side())]
    assert said(*two, first=two[1]) == "", "each of them once"


def crash(*, seconds: int, condition: str = COMING, restarts: int = 1) -> tuple[HealthSample, ...]:
    """Observations of a crash: exited, then starting, then running but still unknown to the router."""
    coming = (look(condition, restarts=restarts),) * (2 * seconds)
    return (look(), look(ENDED), *coming, *(look(UNREACHED, restarts=restarts),) * 4, look(restarts=restarts))


def test_issue10_verify_one_crash_is_tolerated_and_two_are_not():
    assert said(*crash(seconds=5), look(restarts=1)) == ""
    assert said(*crash(seconds=5), look(restarts=2)) == "web-1 was restarted 2 times"
    assert said(look(restarts=4), first=look(restarts=3)) == ""
    assert said(look(restarts=5), first=look(restarts=3)) == "web-1 was restarted 2 times"


def test_issue10_verify_a_crash_from_which_a_release_does_not_recover_is_a_fault():
    seconds = int(RECOVERY) + 2
    assert said(*crash(seconds=seconds)) == "web-1 did not serve within 30 s of its start"
    assert said(*crash(seconds=seconds, condition=UNREACHED)) == "web-1 did not serve within 30 s of its start"
    assert said(*crash(seconds=1, condition=UNHEALTHY)) == "web-1 failed the health check"
    assert said(look(ENDED)) == "", "it is about to be started again"
    assert said(*(look(ENDED),) * 4) == "", "its supervisor may be busy"
    assert said(*(look(ENDED),) * 5) == "web-1 has exited"
    failing_later = (*crash(seconds=1), *(look(restarts=1),) * 10, *(look(UNREACHED, restarts=1),) * 2)
    assert said(*failing_later) == "web-1 failed the health check"


def test_issue10_verify_does_not_end_before_a_crashed_container_serves_again():
    observation = Observation(look(), at=0, before=Side())
    assert observation.compute_remaining(10, at=9) == 1
    *coming, _ = crash(seconds=2)
    for at, now in enumerate(coming, start=5):
        assert observation.update(now, at=at) == ""
        assert observation.compute_remaining(10, at=at) > 0, (now, at)
    assert observation.update(look(restarts=1), at=20) == ""
    assert observation.compute_remaining(10, at=20) == 0
    late = Observation(look(), at=0, before=Side())
    assert late.update(look(restarts=1), at=9.5) == ""
    assert late.compute_remaining(10, at=9.5) == 5, "the router does not know yet whether it serves"


def test_a_container_whose_supervisor_was_killed_may_be_looked_at_again():
    assert said(look(), *(look(COMING),) * 10, look()) == ""
    assert said(look(), *(look(COMING),) * 100) == "web-1 did not serve within 30 s of its start"


def test_a_server_that_the_router_has_not_reached_yet_is_given_time():
    assert said(*(look(UNREACHED),) * 10, look(), first=look(UNREACHED)) == ""
    assert said(*(look(UNREACHED),) * 100, first=look(UNREACHED)) == "web-1 did not serve within 30 s of its start"
    again = (look(router="r2"),) * 2
    assert said(look(), *(look(UNREACHED, router="r2"),) * 4, *again) == "", "a router that was started again"


@pytest.mark.parametrize(
    ("state", "health", "condition"),
    [
        ("running", "none", WELL),
        ("running", "healthy", WELL),
        ("running", "starting", COMING),
        ("running", "unhealthy", UNHEALTHY),
        ("restarting", "none", COMING),
        ("starting", "none", COMING),
        ("exited", "none", ENDED),
        ("dead", "none", ENDED),
        ("stopping", "healthy", ENDED),
    ],
)
def test_how_the_runtime_finds_a_container(state: str, health: str, condition: str):
    seen = ObservedContainer(**{**RUNNING, "state": state, "health": health})
    assert verification._classify(seen) == condition
    assert verification._classify(None) == ENDED


@pytest.mark.parametrize(
    ("requests", "failed", "before", "is_fault"),
    [
        (19, 19, Side(), False),  # too few
        (20, 20, Side(), True),
        (200, 12, Side(requests=5_000, errors=100), False),  # 6 % after 2 %: below the margin
        (200, 30, Side(requests=5_000, errors=100), True),
        (200, 60, Side(requests=5_000, errors=1_500), False),  # as bad as before
        (30, 4, Side(requests=30, errors=2), False),  # may be chance
        (1_000, 80, Side(), False),  # nothing to compare with
        (1_000, 400, Side(), True),
    ],
)
def test_failed_requests_are_held_against_those_before(requests, failed, before, is_fault):
    found = said(look(requests=requests, failed=failed), before=before)
    assert bool(found) is is_fault, found


def test_only_requests_since_the_start_count():
    first = look(requests=1_000, failed=900)
    assert said(look(requests=1_100, failed=901), first=first) == ""
    assert said(look(requests=1_100, failed=990), first=first) != ""


def test_issue10_verify_failures_before_a_router_was_started_again_are_not_forgotten():
    first = look(requests=1_000, failed=900)
    before = Side(requests=1_000, errors=0)
    new = look(requests=10, failed=0, router="r2")
    assert said(look(requests=1_015, failed=905), new, first=first, before=before) != "", "5 of 25"
    assert said(new, first=first, before=before) == ""
    assert said(look(requests=2_000, failed=950, router="r2"), first=first) != "", "it has counted more by now"
    assert said(look(requests=100, failed=90), first=first) != "", "a server that is counted anew"


def test_responses_are_counted_by_server():
    assert count_responses(STAT, {"web-1-new"}, own=True) == Side(requests=108, errors=3)
    assert count_responses(STAT, {"web-1-new"}, own=False) == Side(requests=50, errors=0)


def test_how_long_a_release_is_observed():
    stage = Stage(name="s", order=0)
    assert [find_duration(stage, kind) for kind in ("recreate", "rolling", "blue-green")] == [0.0, DEFAULT, DEFAULT]
    assert find_duration(Stage(name="s", order=0, verify=0.0), "rolling") == 0.0
    assert find_duration(Stage(name="s", order=0, verify=300.0), "recreate") == 300.0


class Answering:
    """A stage whose old and new replicas fail half of their requests, with more requests at each observation."""

    def __init__(self) -> None:
        self.looks = 0
        self.containers = {"web-1-new": ObservedContainer(**{**RUNNING, "name": "web-1-new"})}

    def observe(self, _instance: object) -> Answering:
        return self

    @property
    def runtime(self) -> Answering:
        return self

    @property
    def servers(self) -> dict[str, dict[str, object]]:
        return {}

    def read_runtime(self) -> Answering:
        return self

    def repeat(self, work):
        return work()

    def query(self, _question: str) -> str:
        self.looks += 1
        new = f"web.green,web-1-new,0,{100 * self.looks},0,0,{100 * self.looks},0"
        head = "Start_time_sec: 1\nPid: 7\n# pxname,svname,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other"
        return f"{head}\nweb.blue,web-1-old,0,500,0,0,500,0\n{new}\n"


def test_issue10_verify_resumes_after_a_kill_with_the_old_release_s_counts():
    """Without a comparison, a release that fails as much as the previous one was rolled back."""
    stage = Answering()
    spec = SimpleNamespace(name="web-1-new", kind="service")
    actions = RolloutActions(
        base=None,
        spec=SimpleNamespace(instance=SimpleNamespace(stage="staging")),
        replicas=SimpleNamespace(specs={"web-1-new": spec}, digests={}, served={}),
        engine=stage,
        store=None,
        router=stage,
        secrets=None,
        sink=lambda _event: None,
        drain=0.0,
        verify=0.01,
    )
    assert re.fullmatch("healthy, [0-9]+ requests", actions.verify(SimpleNamespace(id="verify")))


def test_issue10_verify_says_that_there_was_nothing_to_observe():
    silent = SimpleNamespace(run=lambda *_, **__: 0, read_traffic=Side)
    actions = RolloutActions.__new__(RolloutActions)
    actions._verification, actions._seconds, actions._before = silent, 1.0, None
    actions._make_reporter = lambda _step: None
    assert actions.verify(SimpleNamespace(id="verify")) == "healthy by its health checks, without requests"
