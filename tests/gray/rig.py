"""A gray release without a box: a router, clients, and a controller with its state."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gray.routers import KEY, Router, ask, routed

from devbox.deploy.controller import Controller
from devbox.deploy.haproxy import config
from devbox.deploy.records import GrayStore
from devbox.deploy.traffic import RouterBackend
from devbox.gray.policy import Policy, WatchedMetric
from devbox.gray.release import GrayRelease
from devbox.gray.state import ABORTED, HOLD, STABLE, GrayState
from devbox.host.paths import Paths
from devbox.model.release import Release, ReleaseConfig
from devbox.model.router import GREEN, Cohort
from devbox.model.stage import Deployment, Stage

POLICY = Policy(
    steps=(500, 2000, 5000),
    min_time=0.5,
    min_requests=30,
    timeout=60,
    bake=1,
    margin=0.1,
    watches=(WatchedMetric(name="errors", alpha=0.005), WatchedMetric(name="latency", alpha=0.005)),
)
USUAL = "http-request lua.normal"
ENDS = (HOLD, STABLE, ABORTED)
DEPLOYMENT = Deployment(
    release=Release(id="sha256:new", image="sha256:1", config=ReleaseConfig(processes={}), source="", created_at=""),
    stage=Stage(name="production", order=0),
)


class Rig:
    """A router, clients, and a controller with its gray release."""

    def __init__(self, router: Router, home: Path, policy: Policy = POLICY) -> None:
        self.router, self.policy = router, policy
        self.trials = GrayStore(Paths(str(home), str(home)), "shop")
        self.trials.write(
            GrayRelease(
                stage="gray",
                deployment=DEPLOYMENT,
                policy=policy,
                rollout=GrayState.begin(policy),
                side=GREEN,
                began=time.time(),
            )
        )
        self.restarts = 0
        self.shares: list[int] = []
        self.answers: Counter[int] = Counter()

    def controller(self, **more: object) -> Controller:
        ground = RouterBackend(
            runtime=self.router.runtime,
            canary=GREEN,
            processes=("web",),
            keep=self._keep,
            restarts=lambda: self.restarts,
        )
        return Controller(
            gray_store=self.trials,
            backend=ground,
            on_look=lambda trial, sight: self.shares.append(sight.threshold),
            **{"until": ENDS, "on_change": lambda _trial: None, "tick": 0.1, **more},
        )

    def _keep(self, share: int) -> None:
        state = replace(self.router.state, share=share)
        (self.router.directory / config.SHARE).write_text(config.render_share_map(state))

    def run(self, **more: object) -> GrayRelease:
        trial = self.trials.read()
        assert trial is not None
        return self.controller(**more).run(trial)

    @contextlib.contextmanager
    def traffic(
        self, *, visitors: int = 3, headers: tuple[dict[str, str], ...] = ({},), pause: float = 0.0
    ) -> Iterator[None]:
        """Continuous clients; every response is counted by its status."""
        over = threading.Event()

        def visit() -> None:
            while not over.wait(pause):
                self.answers.update(answer.status for answer in ask(self.router.port, list(headers) * 20))

        threads = [threading.Thread(target=visit) for _ in range(visitors)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def rigged(place: Path, *, faults: str = "", usual: str = USUAL, policy: Policy = POLICY) -> Iterator[Rig]:
    """`usual`: behaviour of both services; `faults`: of the new one only, before that; "slow": instead of it."""
    router = place / "router"
    router.mkdir(mode=0o755)
    place.chmod(0o755)
    bad = "http-request lua.slow" if faults == "slow" else f"{faults}\n    {usual}"
    both = {"blue": usual, "green": bad}
    with routed(router, cohort=Cohort(key=KEY), faults=both) as running:
        yield Rig(running, place, policy)
