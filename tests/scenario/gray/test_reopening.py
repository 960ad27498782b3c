"""The controller reopens a canary that the router has shut out; the next failure shuts it out again."""

from __future__ import annotations

from pathlib import Path

from gray.routers import KEY, ask, routed

from devbox.deploy.haproxy.cohort import TRIP
from devbox.deploy.traffic import RouterBackend
from devbox.model.router import GREEN, Cohort


def test_a_canary_that_was_shut_out_is_opened_again(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=Cohort(key=KEY), share=10_000) as router:
        ground = RouterBackend(
            runtime=router.runtime, canary=GREEN, processes=("web",), keep=lambda _share: None, restarts=lambda: 0
        )
        ask(router.port, [{}] * TRIP, path="/fails/green")
        assert ground.read_stats().tripped
        assert {answer.body for answer in ask(router.port, [{}] * 3)} == {"blue"}
        ground.reopen()
        assert not ground.read_stats().tripped
        assert {answer.body for answer in ask(router.port, [{}] * 3)} == {"green"}
        ask(router.port, [{}] * (TRIP - 1), path="/fails/green")
        assert not ground.read_stats().tripped, "a success in between begins the row anew"
        ask(router.port, [{}], path="/fails/green")
        ground.reopen()
        ask(router.port, [{}], path="/fails/green")
        assert ground.read_stats().tripped, "without one, the next failure is enough"
        assert (ground.read_stats().canary_replicas, ground.read_stats().stable_replicas) == (1, 1)
