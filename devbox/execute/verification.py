"""A release is observed for a while after it got the traffic: health checks, restarts, failed requests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from devbox.engines.contract import Engine
from devbox.errors import RouterAway, VerifyFailed
from devbox.execute.router import Router
from devbox.frozen import dataclass
from devbox.model.resolved import Instance
from devbox.model.stage import Stage
from devbox.plan.rollout import VERIFYING
from devbox.routing import counters
from devbox.routing.cohort import PANIC

DEFAULT = 10.0  # seconds: a check of the router that begins to fail is known after at most 5
RESTARTS = 2  # of one container meanwhile, from which on a release is not well
MARGIN = 0.05  # so much higher may the share of failed requests be than before
LEAST = 20  # requests of the new release, before their share says anything
_CERTAIN = 3.0  # standard deviations
_KINDS = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_PAUSE = 0.5
_AWAY = 30.0  # seconds that a router which was killed may take to come back


def seconds_of(stage: Stage, strategy: str) -> float:
    """For how long a release of a stage is observed."""
    usual = DEFAULT if strategy in VERIFYING else 0.0
    return usual if stage.verify is None else stage.verify


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Responses of some servers and how many of them were 500 and above."""

    requests: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One look at a release. `down`: its containers that the runtime or the router finds unhealthy."""

    down: tuple[str, ...]
    restarts: dict[str, int]
    traffic: Traffic


def fault(first: Sight, now: Sight, *, before: Traffic, was_down: Collection[str]) -> str:
    """Why a release is not well; "" if it is. `was_down`: at the look before this one; `before`: the old release."""
    if again := [name for name in now.down if name in was_down]:
        return f"{', '.join(again)} failed the health check"
    for name, count in now.restarts.items():
        if (often := count - first.restarts.get(name, 0)) >= RESTARTS:
            return f"{name} was restarted {often} times"
    return _failing(_since(now.traffic, first.traffic), before)


def _since(now: Traffic, first: Traffic) -> Traffic:
    if now.requests < first.requests or now.failed < first.failed:  # another router counts
        return now
    return Traffic(requests=now.requests - first.requests, failed=now.failed - first.failed)


def _failing(new: Traffic, old: Traffic) -> str:
    """More failed requests than before, by more than MARGIN and beyond chance; without an old release, by itself."""
    if new.requests < LEAST:
        return ""
    share = new.failed / new.requests
    usual = old.failed / old.requests if old.requests else 0.0
    both = (new.failed + old.failed) / (new.requests + max(old.requests, LEAST))
    spread = math.sqrt(both * (1 - both) * (1 / new.requests + 1 / max(old.requests, LEAST)))
    if share <= usual + MARGIN or share - usual <= _CERTAIN * spread:
        return ""
    compared = f"{usual:.1%} of {old.requests} before" if old.requests else "nothing to compare with"
    return f"{share:.1%} of {new.requests} requests failed ({compared})"


class Verification:
    """Of one release in a stage, whose services are `names`."""

    def __init__(self, *, engine: Engine, instance: Instance, router: Router, names: Collection[str]) -> None:
        self._engine = engine
        self._instance = instance
        self._router = router
        self._names = frozenset(names)

    def traffic(self) -> Traffic:
        """What all other servers have answered since they serve."""
        return self._traffic(mine=False)

    def run(self, seconds: float, *, before: Traffic, on_text: Callable[[str], None]) -> None:
        """Look at it again and again; VerifyFailed as soon as it is not well, or if it is down at the end."""
        began = time.monotonic()
        down: tuple[str, ...] = ()
        first = self._look()
        while True:
            now = self._look()
            if found := fault(first, now, before=before, was_down=down):
                raise VerifyFailed(
                    f"the release was not well after it got the traffic: {found}",
                    remedy=f"devbox logs --stage {self._instance.stage}",
                )
            down = now.down
            left = began + seconds - time.monotonic()
            if left <= 0 and not down:
                return
            on_text(f"observed for {max(1, math.ceil(left))} s more")
            time.sleep(_PAUSE)

    def _look(self) -> Sight:
        """RouterAway if the router does not come back."""
        deadline = time.monotonic() + _AWAY
        while True:
            try:
                return self._seen()
            except RouterAway:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    def _seen(self) -> Sight:
        containers = self._engine.observe(self._instance).containers
        mine = {name: containers.get(name) for name in self._names}
        ill = {
            name
            for name, seen in mine.items()
            if seen is None or seen.state != "running" or seen.health not in ("healthy", "none")
        }
        for servers in self._router.seen().servers.values():
            ill |= {name for name, server in servers.items() if name in self._names and server.takes and not server.up}
        return Sight(
            down=tuple(sorted(ill)),
            restarts={name: seen.restarts for name, seen in mine.items() if seen},
            traffic=self._traffic(mine=True),
        )

    def _traffic(self, *, mine: bool) -> Traffic:
        return counted(self._router.runtime.ask(counters.ASK_STAT), self._names, mine=mine)


def counted(stat: str, names: Collection[str], *, mine: bool) -> Traffic:
    """Responses of the servers of these names, or of all others, from HAProxy's statistics."""
    requests = failed = 0
    for row in counters.rows(stat):
        if row["svname"] in ("FRONTEND", "BACKEND") or row["pxname"].startswith(counters.OWN):
            continue
        if (row["svname"].removeprefix(PANIC) in names) is mine:
            requests += sum(int(row.get(f"hrsp_{kind}") or 0) for kind in _KINDS)
            failed += int(row.get("hrsp_5xx") or 0)
    return Traffic(requests=requests, failed=failed)
