"""Router counts by second and replica: a client that fails repeatedly counts once, even with concurrent readers."""

from __future__ import annotations

import time
from pathlib import Path

from gray.routers import KEY, Router, ask, routed, wait_for

from devbox.deploy.traffic import RouterBackend
from devbox.model.router import GREEN, Cohort
from devbox.model.traffic import CANARY, STABLE, Second

_COHORT = Cohort(key=KEY, header="X-User")


def ground(router: Router) -> RouterBackend:
    return RouterBackend(
        runtime=router.runtime, canary=GREEN, processes=("web",), keep=lambda _share: None, restarts=lambda: 0
    )


def visit(router: Router, user: str, path: str = "/", times: int = 1) -> None:
    ask(router.port, [{"X-User": user}] * times, path=path)


def settled(of: RouterBackend, after: int) -> list[Second]:
    """All until now, when this second is complete."""
    end = int(time.time()) + 1.3
    time.sleep(max(0.0, end - time.time()))
    return list(of.read_seconds(after=after))


def total(seconds: list[Second], name: str, side: str = STABLE) -> int:
    return sum(getattr(each, name) or 0 for each in seconds if each.side == side)


def test_a_client_that_fails_again_and_again_is_counted_once(tmp_path: Path):
    tmp_path.chmod(0o755)
    began = int(time.time()) - 1
    with routed(tmp_path, cohort=_COHORT) as router:
        looked = ground(router)
        looked.lease_share(threshold=0, safe=0, generation=7)
        looked.read_seconds(after=began)
        for user in ("ann", "bob", "cem"):
            visit(router, user, "/fails", 2)
            visit(router, user, "/", 3)
        seen = settled(looked, began)
        assert (total(seen, "requests"), total(seen, "failed"), total(seen, "first_failed")) == (15, 6, 3)
        assert {(each.replica, each.side, sum(each.times) == each.requests) for each in seen} == {
            ("web-1", STABLE, True)
        }
        assert all(each.first_slow is None for each in seen), "there is no limit"
        last = seen[-1].at
        assert not settled(looked, last), "each second is delivered once"
        visit(router, "ann", "/fails")
        looked.lease_share(threshold=0, safe=0, generation=8)
        visit(router, "ann", "/fails", 2)
        again = settled(looked, last)
        assert (total(again, "failed"), total(again, "first_failed")) == (3, 1), "a generation counts again"
        assert total(list(ground(router).read_seconds(after=0)), "requests") == 18, "a history without a controller"


def test_both_sides_are_counted_separately_and_slow_responses_once_per_client(tmp_path: Path):
    tmp_path.chmod(0o755)
    faults = {"green": "http-request lua.slow"}
    with routed(tmp_path, cohort=_COHORT, share=10_000, faults=faults) as router:
        looked = ground(router)
        looked.lease_share(threshold=10_000, safe=10_000, generation=7, slow=20_000)
        began = int(time.time()) - 1
        visit(router, "ann", times=3)
        visit(router, "bob", times=2)
        for user in ("ann", "bob", "cem"):
            ask(router.port, [{"X-User": user, "X-Devbox-Side": "stable"}])
        looked.lease_share(threshold=0, safe=0, generation=7, slow=20_000)
        visit(router, "ann")
        seen = settled(looked, began)
        assert (total(seen, "requests", CANARY), total(seen, "first_slow", CANARY)) == (5, 2)
        assert (total(seen, "requests"), total(seen, "first_slow")) == (1, 0), "those that chose a side are not judged"


def test_what_stable_answers_in_the_canarys_place_is_the_canarys_failure(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=_COHORT, share=10_000) as router:
        looked = ground(router)
        looked.lease_share(threshold=10_000, safe=10_000, generation=7)
        began = int(time.time()) - 1
        assert not looked.read_seconds(after=began)
        router.services["green"].kill()
        router.services["green"].wait()
        for user in ("ann", "bob"):
            visit(router, user, times=2)
        seen = settled(looked, began)
        without = [each for each in seen if not each.replica]
        assert {each.side for each in without} == {CANARY}
        assert (sum(each.failed for each in without), sum(each.first_failed for each in without)) == (4, 2)
        router.services["blue"].kill()
        router.services["blue"].wait()
        visit(router, "ann")
        wait_for(
            lambda: sum(each.failed for each in looked.read_seconds(after=began) if not each.replica) == 1, tmp_path
        )
