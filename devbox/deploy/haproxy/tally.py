"""Failed requests of a stage without a response of the application, by cause. Pure.

HAProxy counts from 0 at each start and loses its counters when it is killed. A tally keeps the last reading of each
ended router, so that counts only grow. Answers between that reading and the kill are in the router's log
(docs/adr/0081-counted-in-the-log.md). The number of unanswered requests is bounded by the open accepted connections, at
most one request each; the kernel counts accepted connections (docs/adr/0073-held-sockets.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace

from devbox.deploy.haproxy.tunnels import Tunnels, count_cut, follow
from devbox.model.frozen import dataclass
from devbox.model.stage import Counts

ROUTER = "router"  # the router had no available server
REFUSED = "refused"  # all connections to a server were refused
CUT = "cut"  # the server closed the connection before the response headers, or devbox did so after the drain time
TRUNCATED = "truncated"  # the connection ended within a response
TIMEOUT = "timeout"  # the server did not respond in time
_RESTART = 60.0  # seconds for a killed router to restart; afterwards the stage is down
_REMEMBERED = 100  # routers in `counted`
CAUSES = (ROUTER, REFUSED, CUT, TRUNCATED, TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class CounterReading:
    """Counters of one router since its start. `counts`: (counter key, cause) → requests.

    `began`: seconds since the epoch; `started`: the same in µs, as in the log, "" without counts in the log. `open`:
    client connections; `peak`: requests in the busiest second; `accepted`: connections since the start, on all ports;
    `tunnels`: by container; `runs`: process identity by container, "" for none.
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
    """Connections accepted by routers when the last one ended, at `at`, by the kernel's count in a `namespace`.

    A new namespace starts at 0: sockets are recreated if the router and its supervisor end together.
    """

    namespace: str
    accepted: int
    at: float


@dataclass(frozen=True, kw_only=True)
class LossTally:
    """Losses of all routers of a stage. `id`: of this tally; `last`: newest reading of `router`, "KEY CAUSE" → count.

    `gone`: by cause, of ended routers and reset counters. `unknown`: upper bound of further losses by kills of routers
    or replicas. `closed`: last router that was stopped cleanly. `namespace`, `ended`: the kernel's count at the last
    reading (`AcceptedConnections`); `accepted`: the router's. `started`, `tunnels`, `runs`: of the last reading.
    `counted`: start times of routers whose log is in `gone`.
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
        """Return the totals by cause."""
        total = dict.fromkeys(CAUSES, 0) | self.gone
        for key, count in self.last.items():
            cause = key.rpartition(" ")[2]
            total[cause] = total.get(cause, 0) + count
        return Counts(router=self.id, lost=total, unknown=self.unknown)

    def add(self, cause: str, count: int) -> LossTally:
        """Return the tally plus losses that HAProxy does not count."""
        return replace(self, gone={**self.gone, cause: self.gone.get(cause, 0) + count})

    def settle(self, container: str) -> LossTally:
        """Forget a container without connections that is about to be removed: its end cuts none."""
        return replace(
            self,
            tunnels={name: seen for name, seen in self.tunnels.items() if name != container},
            runs={name: run for name, run in self.runs.items() if name != container},
        )

    def close(self) -> LossTally:
        """Return the tally after a clean stop of the router: the next router does not replace a killed one."""
        gone = {cause: count for cause, count in self.sum_counts().lost.items() if count}
        counted = self._extend_counted(self.started)
        return LossTally(id=self.id, gone=gone, unknown=self.unknown, closed=self.router, counted=counted)

    def add_logged(self, logged: Mapping[str, Mapping[tuple[str, str], int]]) -> LossTally:
        """Add the counts of ended routers; `logged`: the counts in the log by start time.

        Those of the last router must be newer than its last reading: its counters may have been reset before. Every
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
        """Return the tally after another reading, started at `now`. `kernel`: its count, unchanged during the reading.

        For a new router, possible losses of the killed one are added to `unknown`; for a replica that exited on its
        own, its tunnels.
        """
        if reading.router == self.closed:  # another reading while it stops
            return self
        found = {f"{key} {cause}": count for (key, cause), count in reading.counts.items()}
        replaced = self.is_replaced(reading, kernel)
        gone = dict(self.gone)
        for key, count in self.last.items():
            if replaced or found.get(key, 0) < count:  # another router, or a reset counter
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
        """True if the router ended since the last reading, even if its successor has the same pid and start second."""
        has_ended = kernel is not None and kernel.namespace == self.namespace and kernel.accepted != self.ended
        return bool(self.router) and (self.router != reading.router or has_ended)

    def _count_possible_losses(self, reading: CounterReading, kernel: AcceptedConnections | None) -> int:
        """Return the bound of losses of a killed router: one per connection that may have been open.

        These are the connections of the last reading and those accepted since. A failure without a response ends its
        connection; responses of the router itself are in its log.
        """
        if kernel is not None and kernel.namespace == self.namespace:
            pending = kernel.accepted - self.ended - self.accepted
            if pending >= 0:
                answered = 0 if self.started else math.ceil(self.peak * max(0.0, kernel.at - self.at))
                return self.open + pending + answered
        # Without a count: assume the peak rate until the next router started.
        lost_seconds = min(max(0.0, reading.began + 1 - self.at), _RESTART)
        return self.open + math.ceil(self.peak * lost_seconds)

    def _find_ended(self, reading: CounterReading) -> frozenset[str]:
        """Return replicas with a new process, or none, that devbox did not remove."""
        return frozenset(name for name, run in self.runs.items() if run and reading.runs.get(name, run) != run)

    def _count_possible_cuts(self, reading: CounterReading, ended: frozenset[str]) -> int:
        return sum(count_cut(self.tunnels[name], reading.tunnels.get(name)) for name in ended if name in self.tunnels)
