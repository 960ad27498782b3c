"""When a release that has the traffic is not well."""

from __future__ import annotations

import pytest

from devbox.execute.verification import DEFAULT, Sight, Traffic, counted, fault, seconds_of
from devbox.model.stage import Stage

STAT = """# pxname,svname,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other
web,FRONTEND,0,900,0,0,900,0
web.green,web-1-new,0,90,5,3,2,0
web.green,panic-web-1-new,,7,,,1,
web.green,BACKEND,0,900,0,0,900,0
web.blue,web-1-old,0,50,0,0,0,0
devbox.lives,x,0,9,0,0,9,0
"""


def look(*down: str, restarts: int = 0, requests: int = 0, failed: int = 0) -> Sight:
    return Sight(down=down, restarts={"web-1": restarts}, traffic=Traffic(requests=requests, failed=failed))


def said(
    now: Sight, *, first: Sight | None = None, before: Traffic | None = None, was_down: tuple[str, ...] = ()
) -> str:
    return fault(first or look(), now, before=before or Traffic(), was_down=was_down)


def test_a_health_check_that_fails_twice_is_a_fault():
    assert said(look("web-1")) == ""
    assert said(look("web-1"), was_down=("web-2",)) == ""
    assert said(look("web-1"), was_down=("web-1",)) == "web-1 failed the health check"


def test_one_crash_is_none_and_two_are():
    assert said(look(restarts=4), first=look(restarts=3)) == ""
    assert said(look(restarts=5), first=look(restarts=3)) == "web-1 was restarted 2 times"


@pytest.mark.parametrize(
    ("requests", "failed", "before", "is_fault"),
    [
        (19, 19, Traffic(), False),  # too few
        (20, 20, Traffic(), True),
        (200, 12, Traffic(requests=5_000, failed=100), False),  # 6 % after 2 %: below the margin
        (200, 30, Traffic(requests=5_000, failed=100), True),
        (200, 60, Traffic(requests=5_000, failed=1_500), False),  # as bad as before
        (30, 4, Traffic(requests=30, failed=2), False),  # may be chance
        (1_000, 80, Traffic(), False),  # nothing to compare with
        (1_000, 400, Traffic(), True),
    ],
)
def test_failed_requests_are_held_against_those_before(requests, failed, before, is_fault):
    found = said(look(requests=requests, failed=failed), before=before)
    assert bool(found) is is_fault, found


def test_only_what_came_since_counts():
    first = look(requests=1_000, failed=900)
    assert said(look(requests=1_100, failed=901), first=first) == ""
    assert said(look(requests=1_100, failed=990), first=first) != ""
    assert said(look(requests=100, failed=90), first=first) != "", "a router that was started again"


def test_responses_are_counted_by_server():
    assert counted(STAT, {"web-1-new"}, mine=True) == Traffic(requests=108, failed=3)
    assert counted(STAT, {"web-1-new"}, mine=False) == Traffic(requests=50, failed=0)


def test_how_long_a_release_is_observed():
    stage = Stage(name="s", order=0)
    assert [seconds_of(stage, kind) for kind in ("recreate", "rolling", "blue-green")] == [0.0, DEFAULT, DEFAULT]
    assert seconds_of(Stage(name="s", order=0, verify=0.0), "rolling") == 0.0
    assert seconds_of(Stage(name="s", order=0, verify=300.0), "recreate") == 300.0
