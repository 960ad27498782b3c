"""Verification of a release after it got the traffic: health checks, restarts, failed requests."""

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

DEFAULT = 10.0  # seconds: a router check that starts to fail is noticed after at most 5
RESTARTS = 2  # of one container; with this many, the release is unhealthy
FAILURES = 2  # times that a container stops serving without a restart; with this many, the release is unhealthy
RECOVERY = 30.0  # seconds for a crashed container to serve again
MARGIN = 0.05  # allowed increase of the rate of failed requests
LEAST = 20  # minimum requests of the new release for a judgment
_NOTICED = 5.0  # seconds until the router has taken out a failing server
_ENDING = 2.0  # seconds until a supervisor has noticed an exit and scheduled the restart
_CERTAIN = 3.0  # standard deviations
_KINDS = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_PAUSE = 0.5
# Condition of a container: it serves; its health check fails; it has exited without a restart; it is starting, also
# after its supervisor was killed; it is healthy, but the router's check fails.
WELL, UNHEALTHY, ENDED, COMING, UNREACHED = "well", "unhealthy", "ended", "coming", "unreached"


def find_duration(stage: Stage, strategy: str) -> float:
    """Return the observation time of a stage's release in seconds."""
    usual = DEFAULT if strategy in VERIFYING else 0.0
    return usual if stage.verify is None else stage.verify


@dataclass(frozen=True, kw_only=True)
class HealthSample:
    """One observation of a release. `conditions`: of its containers, see WELL; `restarts`: of existing ones.

    `traffic`: their responses since the start of `router`, the identity of the HAProxy process.
    """

    conditions: Mapping[str, str]
    restarts: Mapping[str, int]
    traffic: Side
    router: str = ""


class Observation:
    """Accumulated observations of a release. `at`: seconds of a monotonic clock."""

    def __init__(self, first: HealthSample, *, at: float, before: Side) -> None:
        """`before`: responses of the old release."""
        self._last, self._before = first, before
        self._new = Side()  # since the first observation, over all routers
        self._replicas = {
            name: _Replica(restarts=first.restarts.get(name, 0), began=at) for name in sorted(first.conditions)
        }

    @property
    def requests(self) -> int:
        """Requests answered by the release since the first observation."""
        return self._new.requests

    def update(self, now: HealthSample, *, at: float) -> str:
        """Add an observation; return why the release is unhealthy, or ""."""
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
        """Return the remaining seconds until `until`; 0 at the end.

        Extended while a container does not serve or started so recently that a failure may not show yet.
        """
        is_down = any(condition != WELL for condition in self._last.conditions.values())
        ends = max((until, *(replica.shows_at for replica in self._replicas.values())))
        return max(_PAUSE if is_down else 0.0, ends - at)


class _Replica:
    """A container of the release. `shows_at`: when the router will have noticed that it does not serve."""

    def __init__(self, *, restarts: int, began: float) -> None:
        """`began`: start time of the container's startup."""
        self._restarts, self._began = restarts, began
        self._crashes = self._failures = 0
        self._reached = False  # the router's check has passed since it began
        self._failing, self._ended_at = False, math.inf
        self.shows_at = -math.inf

    def update(self, condition: str, restarts: int | None, *, at: float) -> str:
        """Add an observation; return why the container is unhealthy, or ""."""
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
        if condition == ENDED:  # a state before every restart, too
            return "has exited" if at >= self._ended_at + _ENDING else ""
        if condition == WELL:
            self._reached = self._reached or at >= self.shows_at
            return ""
        return f"did not serve within {RECOVERY:g} s of its start" if at > self._began + RECOVERY else ""

    def mark_unreached(self, at: float) -> None:
        """Reset the router's check after a restart of the router."""
        if self._reached:
            self._reached, self._began = False, at

    def _count_failure(self, *, again: bool) -> str:
        self._failures += not again
        if again:
            return "failed the health check"
        return f"failed the health check {self._failures} times" if self._failures >= FAILURES else ""


def _find_excess_errors(new: Side, old: Side) -> str:
    """Report failed requests above the old rate by MARGIN and beyond chance; without an old release, its rate is 0."""
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
    """Verification of one release, whose services are `names`."""

    def __init__(self, *, engine: Engine, instance: Instance, router: Router, names: Collection[str]) -> None:
        self._engine = engine
        self._instance = instance
        self._router = router
        self._names = frozenset(names)

    def read_traffic(self) -> Side:
        """Return the responses of all other servers so far."""
        return self._router.runtime.repeat(lambda: count_responses(self._query_counts()[1], self._names, own=False))

    def run(self, seconds: float, *, before: Side, on_text: Callable[[str], None]) -> int:
        """Observe repeatedly; VerifyFailed once the release is unhealthy, or if it is down at the end.

        Returns the number of its requests in that time.
        """
        until = time.monotonic() + seconds
        observation = Observation(self._observe(), at=time.monotonic(), before=before)
        while True:
            now = self._observe()
            at = time.monotonic()
            if found := observation.update(now, at=at):
                raise VerifyFailed(
                    f"the release was unhealthy after it got the traffic: {found}",
                    remedy=f"devbox logs --stage {self._instance.stage}",
                )
            if not (left := observation.compute_remaining(until, at=at)):
                return observation.requests
            on_text(f"observed for {max(1, math.ceil(left))} s more")
            time.sleep(_PAUSE)

    def _observe(self) -> HealthSample:
        """Observe once. RouterUnavailable if the router does not come back."""
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
            traffic=count_responses(stat, self._names, own=True),
            router=router,
        )

    def _query_counts(self) -> tuple[str, str]:
        """Return the router's identity and statistics, from one answer."""
        return counters.split_counts(self._router.runtime.query(counters.ASK_COUNTS))


def _classify(seen: ObservedContainer | None) -> str:
    """Classify a container by its runtime state."""
    if seen is None or seen.state in ("exited", "dead", "stopping", "created"):
        return ENDED
    if seen.state != "running" or seen.health == "starting":
        return COMING
    return UNHEALTHY if seen.health == "unhealthy" else WELL


def count_responses(stat: str, names: Collection[str], *, own: bool) -> Side:
    """Count the responses of the named servers, or of all others, from HAProxy's statistics."""
    requests = failed = 0
    for row in counters.parse_stats(stat):
        if row["svname"] in ("FRONTEND", "BACKEND") or row["pxname"].startswith(counters.OWN):
            continue
        if (row["svname"].removeprefix(PANIC) in names) is own:
            requests += sum(int(row.get(f"hrsp_{kind}") or 0) for kind in _KINDS)
            failed += int(row.get("hrsp_5xx") or 0)
    return Side(requests=requests, errors=failed)
