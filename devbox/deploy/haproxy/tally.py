"""Requests of a stage that failed for a client without an answer of the application, by cause. Pure.

HAProxy counts from 0 when it starts, and forgets everything when it is killed. A tally keeps the last reading of each
router that ended, so that counts only grow. What was answered between that reading and the kill is in the router's log
(docs/adr/0081-counted-in-the-log.md). What was not answered is bounded: requests on connections that it had accepted
and that were open, at most one on each. The kernel counts what is accepted (docs/adr/0073-held-sockets.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace

from devbox.deploy.haproxy.tunnels import Tunnels, count_cut, follow
from devbox.model.frozen import dataclass
from devbox.model.stage import Counts

ROUTER = "router"  # the router had no server to ask
REFUSED = "refused"  # every connection to a server was refused
CUT = "cut"  # the server closed the connection before the headers of a response, or devbox after the time to drain
TRUNCATED = "truncated"  # the connection ended within a response
TIMEOUT = "timeout"  # the server did not answer in time
_RESTART = 60.0  # seconds within which a killed router is there again; without one for longer, a stage is down
_REMEMBERED = 100  # routers in `counted`
CAUSES = (ROUTER, REFUSED, CUT, TRUNCATED, TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class CounterReading:
    """What one router has counted since it started. `counts`: (what was asked, cause) → requests.

    `began`: seconds since the epoch; `started`: the same in µs, as in its log, "" for one that has no counts there.
    `open`: connections of clients; `peak`: requests in its busiest second; `accepted`: connections since it started, at
    all its ports; `tunnels`: by container. `runs`: by container, what tells its process from the one before, "" for
    none.
    """

    router: str
    began: float
    counts: dict[tuple[str, str], int]
    started: str = ""
    open: int = 0
    peak: int = 0
    accepted: int = 0
    tunnels: dict[str, Tunnels] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AcceptedConnections:
    """Connections that routers had accepted when the last one ended, at `at`, by the kernel's count in a `namespace`.

    Another namespace begins at 0: sockets are made again if the router and its supervisor end together.
    """

    namespace: str
    accepted: int
    at: float


@dataclass(frozen=True, kw_only=True)
class LossTally:
    """All routers of a stage. `id`: of this tally; `last`: the newest reading of `router`, "KEY CAUSE" → requests.

    `gone`: by cause, of routers that ended and of counters that were reset. `unknown`: requests that may have been lost
    besides, at most, when routers or replicas were killed. `closed`: the router that was stopped in order last.
    `namespace` and `ended`: the kernel's count at the last reading (`Accepted`); `accepted`: the router's own then.
    `started`, `tunnels`, `runs`: of the last reading. `counted`: start times of routers whose log lines are in `gone`.
    """

    id: str
    router: str = ""
    at: float = 0.0
    last: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    open: int = 0
    peak: int = 0
    unknown: int = 0
    closed: str = ""
    namespace: str = ""
    ended: int = 0
    accepted: int = 0
    started: str = ""
    tunnels: dict[str, Tunnels] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    counted: tuple[str, ...] = ()

    def sum_counts(self) -> Counts:
        """Totals by cause."""
        total = dict.fromkeys(CAUSES, 0) | self.gone
        for key, count in self.last.items():
            cause = key.rpartition(" ")[2]
            total[cause] = total.get(cause, 0) + count
        return Counts(router=self.id, lost=total, unknown=self.unknown)

    def add(self, cause: str, count: int) -> LossTally:
        """The same with losses that HAProxy does not count."""
        return replace(self, gone={**self.gone, cause: self.gone.get(cause, 0) + count})

    def settle(self, container: str) -> LossTally:
        """The same when a container without connections is about to be removed: its end cuts nothing."""
        return replace(
            self,
            tunnels={name: seen for name, seen in self.tunnels.items() if name != container},
            runs={name: run for name, run in self.runs.items() if name != container},
        )

    def close(self) -> LossTally:
        """The same when the router was stopped in order: the next one is no replacement for a killed one."""
        gone = {cause: count for cause, count in self.sum_counts().lost.items() if count}
        counted = self._extend_counted(self.started)
        return LossTally(id=self.id, gone=gone, unknown=self.unknown, closed=self.router, counted=counted)

    def add_logged(self, logged: Mapping[str, Mapping[tuple[str, str], int]]) -> LossTally:
        """Add the counts of routers that have ended; `logged`: the counts in the log by start time.

        Those of the last router must be newer than its last reading: its counters may have been reset before it. Every
        other router counts once.
        """
        last, gone = dict(self.last), dict(self.gone)
        for (key, cause), count in logged.get(self.started, {}).items():
            last[f"{key} {cause}"] = max(count, last.get(f"{key} {cause}", 0))
        others = logged.keys() - {self.started, *self.counted}
        for (_, cause), count in (each for started in others for each in logged[started].items()):
            gone[cause] = gone.get(cause, 0) + count
        return replace(self, last=last, gone=gone, counted=self._extend_counted(*sorted(others)))

    def _extend_counted(self, *started: str) -> tuple[str, ...]:
        more = [each for each in started if each and each not in self.counted]
        return (*self.counted, *more)[-_REMEMBERED:]

    def update(self, reading: CounterReading, *, now: float, kernel: AcceptedConnections | None = None) -> LossTally:
        """The same after another reading, begun at `now`. `kernel`: what held at its beginning and at its end.

        Where the router is another one, the requests that the killed one may have lost are added to `unknown`; where a
        replica has ended by itself, its tunnels.
        """
        if reading.router == self.closed:  # looked at once more while it stops
            return self
        found = {f"{key} {cause}": count for (key, cause), count in reading.counts.items()}
        replaced = self.is_replaced(reading, kernel)
        gone = dict(self.gone)
        for key, count in self.last.items():
            if replaced or found.get(key, 0) < count:  # another router, or a counter that was reset
                cause = key.rpartition(" ")[2]
                gone[cause] = gone.get(cause, 0) + count
        ended = self._find_ended(reading)
        return replace(
            self,
            router=reading.router,
            at=now,
            last=found,
            gone=gone,
            open=reading.open,
            peak=reading.peak if replaced else max(self.peak, reading.peak),
            unknown=self.unknown
            + (self._count_possible_losses(reading, kernel) if replaced else self._count_possible_cuts(reading, ended)),
            namespace=kernel.namespace if kernel else "",
            ended=kernel.accepted if kernel else 0,
            accepted=reading.accepted,
            started=reading.started,
            tunnels={
                name: seen if replaced or name in ended else follow(self.tunnels.get(name), seen, at=now)
                for name, seen in reading.tunnels.items()
            },
            runs=reading.runs,
            counted=self._extend_counted(self.started) if replaced else self.counted,
        )

    def is_replaced(self, reading: CounterReading, kernel: AcceptedConnections | None) -> bool:
        """True if the router has ended since the last reading, also if the next one has its pid and second of start."""
        has_ended = kernel is not None and kernel.namespace == self.namespace and kernel.accepted != self.ended
        return bool(self.router) and (self.router != reading.router or has_ended)

    def _count_possible_losses(self, reading: CounterReading, kernel: AcceptedConnections | None) -> int:
        """Requests that a killed router may have lost: one on each connection that may have been open.

        Those are the ones of the last reading, and those that were accepted since. One that fails without an answer
        ends its connection; one that the router answers itself is in its log.
        """
        if kernel is not None and kernel.namespace == self.namespace:
            opened = kernel.accepted - self.ended - self.accepted
            if opened >= 0:
                answered = 0 if self.started else math.ceil(self.peak * max(0.0, kernel.at - self.at))
                return self.open + opened + answered
        # Nothing counts them: as many a second as requests in the busiest one, until the next router started.
        away = min(max(0.0, reading.began + 1 - self.at), _RESTART)
        return self.open + math.ceil(self.peak * away)

    def _find_ended(self, reading: CounterReading) -> frozenset[str]:
        """Replicas whose process is another one, or none, and that devbox did not remove."""
        return frozenset(name for name, run in self.runs.items() if run and reading.runs.get(name, run) != run)

    def _count_possible_cuts(self, reading: CounterReading, ended: frozenset[str]) -> int:
        return sum(count_cut(self.tunnels[name], reading.tunnels.get(name)) for name in ended if name in self.tunnels)
