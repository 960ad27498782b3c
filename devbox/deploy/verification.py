"""A release is observed for a while after it got the traffic: health checks, restarts, failed requests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping

from devbox.deploy.haproxy import counters
from devbox.deploy.router import Router
from devbox.deploy.strategies import VERIFYING
from devbox.engines.engine import Engine
from devbox.errors import VerifyFailed
from devbox.model.frozen import dataclass
from devbox.model.observed import ObservedContainer
from devbox.model.router import PANIC
from devbox.model.spec import Instance
from devbox.model.stage import Stage
from devbox.model.traffic import Side

DEFAULT = 10.0  # seconds: a check of the router that begins to fail is known after at most 5
RESTARTS = 2  # of one container meanwhile, from which on a release is not well
FAILURES = 2  # times that a container stops serving without a restart, from which on a release is not well
RECOVERY = 30.0  # seconds that a container may take to serve again after it has crashed
MARGIN = 0.05  # so much higher may the share of failed requests be than before
LEAST = 20  # requests of the new release, before their share says anything
_NOTICED = 5.0  # seconds after which the router has taken out a server that does not serve
_ENDING = 2.0  # seconds until a supervisor has seen that a container ended, and that it is to be started again
_CERTAIN = 3.0  # standard deviations
_KINDS = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_PAUSE = 0.5
# What a container is like at a look: it serves; its health check fails; it has ended, and is not started again; it is
# being started, again or for the first time since its supervisor was killed; it is well, but the router's check fails.
WELL, UNHEALTHY, ENDED, COMING, UNREACHED = "well", "unhealthy", "ended", "coming", "unreached"


def find_duration(stage: Stage, strategy: str) -> float:
    """For how long a release of a stage is observed."""
    usual = DEFAULT if strategy in VERIFYING else 0.0
    return usual if stage.verify is None else stage.verify


@dataclass(frozen=True, kw_only=True)
class HealthSample:
    """One look at a release. `conditions`: of its containers, WELL and so on; `restarts`: of those that are there.

    `traffic`: what they have answered since the start of `router`, which tells one HAProxy from another.
    """

    conditions: Mapping[str, str]
    restarts: Mapping[str, int]
    traffic: Side
    router: str = ""


class Observation:
    """What the looks at a release have shown until now. `at`: seconds of one clock that is never set."""

    def __init__(self, first: HealthSample, *, at: float, before: Side) -> None:
        """`before`: what the old release has answered."""
        self._last, self._before = first, before
        self._new = Side()  # since the first look, whichever router counted it
        self._replicas = {
            name: _Replica(restarts=first.restarts.get(name, 0), began=at) for name in sorted(first.conditions)
        }

    @property
    def requests(self) -> int:
        """How many requests the release has answered since the first look."""
        return self._new.requests

    def update(self, now: HealthSample, *, at: float) -> str:
        """Add a look; why the release is not well, "" if it is."""
        is_same = now.router == self._last.router
        self._new += now.traffic.subtract(self._last.traffic) if is_same else now.traffic
        self._last = now
        for name, replica in self._replicas.items():
            if not is_same:
                replica.mark_unreached(at)
            if why := replica.update(now.conditions[name], now.restarts.get(name), at=at):
                return f"{name} {why}"
        return _find_excess_errors(self._new, self._before)

    def compute_remaining(self, until: float, *, at: float) -> float:
        """For how many more seconds it is to be observed, if it was to be until then; 0: it is over.

        It does not end while a container does not serve, or was started so recently that its failure may not show yet.
        """
        is_down = any(condition != WELL for condition in self._last.conditions.values())
        ends = max((until, *(replica.shows_at for replica in self._replicas.values())))
        return max(_PAUSE if is_down else 0.0, ends - at)


class _Replica:
    """A container of the release. `shows_at`: when the router will have found that it does not serve, if so."""

    def __init__(self, *, restarts: int, began: float) -> None:
        """`began`: since when it may be on its way to serve."""
        self._restarts, self._began = restarts, began
        self._crashes = self._failures = 0
        self._reached = False  # the router has found that it serves since it began
        self._failing, self._ended_at = False, math.inf
        self.shows_at = -math.inf

    def update(self, condition: str, restarts: int | None, *, at: float) -> str:
        """Add a look; why it is not well, "" if it is."""
        if restarts is not None and restarts > self._restarts:
            self._crashes += restarts - self._restarts
            self._restarts, self._began, self.shows_at, self._reached = restarts, at, at + _NOTICED, False
        if self._crashes >= RESTARTS:
            return f"was restarted {self._crashes} times"
        if condition == COMING:  # without a restart: its supervisor was killed
            self.mark_unreached(at)
        again, self._failing = self._failing, condition == UNHEALTHY or (condition == UNREACHED and self._reached)
        if self._failing:
            return self._count_failure(again=again)
        self._ended_at = min(self._ended_at, at) if condition == ENDED else math.inf
        if condition == ENDED:  # one that is to be started again is so for a moment
            return "has ended" if at >= self._ended_at + _ENDING else ""
        if condition == WELL:
            self._reached = self._reached or at >= self.shows_at
            return ""
        return f"did not serve within {RECOVERY:g} s of its start" if at > self._began + RECOVERY else ""

    def mark_unreached(self, at: float) -> None:
        """Forget that the router reaches it, as when that was started again."""
        if self._reached:
            self._reached, self._began = False, at

    def _count_failure(self, *, again: bool) -> str:
        self._failures += not again
        if again:
            return "failed the health check"
        return f"failed the health check {self._failures} times" if self._failures >= FAILURES else ""


def _find_excess_errors(new: Side, old: Side) -> str:
    """More failed requests than before, by more than MARGIN and beyond chance; without an old release, by itself."""
    if new.requests < LEAST:
        return ""
    share = new.errors / new.requests
    usual = old.errors / old.requests if old.requests else 0.0
    both = (new.errors + old.errors) / (new.requests + max(old.requests, LEAST))
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

    def read_traffic(self) -> Side:
        """What all other servers have answered since they serve."""
        return self._router.runtime.repeat(lambda: count_responses(self._query_counts()[1], self._names, mine=False))

    def run(self, seconds: float, *, before: Side, on_text: Callable[[str], None]) -> int:
        """Look at it again and again; VerifyFailed as soon as it is not well, or if it is down at the end.

        Return the number of requests that it has answered meanwhile.
        """
        until = time.monotonic() + seconds
        observation = Observation(self._observe(), at=time.monotonic(), before=before)
        while True:
            now = self._observe()
            at = time.monotonic()
            if found := observation.update(now, at=at):
                raise VerifyFailed(
                    f"the release was not well after it got the traffic: {found}",
                    remedy=f"devbox logs --stage {self._instance.stage}",
                )
            if not (left := observation.compute_remaining(until, at=at)):
                return observation.requests
            on_text(f"observed for {max(1, math.ceil(left))} s more")
            time.sleep(_PAUSE)

    def _observe(self) -> HealthSample:
        """RouterAway if the router does not come back."""
        return self._router.runtime.repeat(self._sample)

    def _sample(self) -> HealthSample:
        containers = self._engine.observe(self._instance).containers
        router, stat = self._query_counts()
        servers = [named for named in self._router.read_runtime().servers.values() if named.keys() & self._names]
        unreached = {name for named in servers for name, server in named.items() if server.takes and not server.up}
        found = {name: _classify(containers.get(name)) for name in self._names}
        return HealthSample(
            conditions={
                name: UNREACHED if condition == WELL and name in unreached else condition
                for name, condition in found.items()
            },
            restarts={name: seen.restarts for name, seen in containers.items() if name in self._names},
            traffic=count_responses(stat, self._names, mine=True),
            router=router,
        )

    def _query_counts(self) -> tuple[str, str]:
        """Which router it is and its statistics, in one answer."""
        return counters.split_counts(self._router.runtime.query(counters.ASK_COUNTS))


def _classify(seen: ObservedContainer | None) -> str:
    """As the runtime finds it."""
    if seen is None or seen.state in ("exited", "dead", "stopping", "created"):
        return ENDED
    if seen.state != "running" or seen.health == "starting":
        return COMING
    return UNHEALTHY if seen.health == "unhealthy" else WELL


def count_responses(stat: str, names: Collection[str], *, mine: bool) -> Side:
    """Responses of the servers of these names, or of all others, from HAProxy's statistics."""
    requests = failed = 0
    for row in counters.parse_stats(stat):
        if row["svname"] in ("FRONTEND", "BACKEND") or row["pxname"].startswith(counters.OWN):
            continue
        if (row["svname"].removeprefix(PANIC) in names) is mine:
            requests += sum(int(row.get(f"hrsp_{kind}") or 0) for kind in _KINDS)
            failed += int(row.get("hrsp_5xx") or 0)
    return Side(requests=requests, errors=failed)
