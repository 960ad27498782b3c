"""Traffic backend of a gray release on this host: the stage's router and the containers of both sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import field

from devbox.deploy.controller import RouterStats
from devbox.deploy.haproxy import converge, counters
from devbox.deploy.haproxy import seconds as by_second
from devbox.deploy.haproxy.cohort import LEASE, SLOW
from devbox.deploy.haproxy.converge import RouterRuntime
from devbox.deploy.haproxy.runtime import Runtime
from devbox.errors import RouterUnavailable
from devbox.model.frozen import dataclass
from devbox.model.router import GREEN, WHOLE, get_other_side, is_backup
from devbox.model.stage import Counts
from devbox.model.traffic import BASELINE, CANARY, STABLE, Second, Side

_SETTLED = 0.2  # seconds after which all responses of a second are counted


@dataclass(frozen=True, kw_only=True)
class RouterBackend:
    """`canary`: its side; `processes`: those whose traffic is judged, all if empty.

    `keep`: stores the share for a restarted router. `restarts`: counts restarts of the canary's containers. `baseline`:
    whether there are fresh replicas of stable.
    """

    runtime: Runtime
    canary: str
    processes: Collection[str]
    keep: Callable[[int], None]
    restarts: Callable[[], int]
    baseline: bool = False
    clock: Callable[[], float] = time.time
    counts: Callable[[], Counts | None] = lambda: None  # lost requests of the stage so far
    before: dict[str, tuple[int, int]] = field(default_factory=dict)  # by side, requests without a response so far

    def read_stats(self) -> RouterStats:
        """See `TrafficBackend`."""
        began = self._identify_router()
        stats = self._read_stats(began)
        if self._identify_router() != began:  # answers of two routers, or incomplete ones
            raise RouterUnavailable("the router restarted just now", remedy="try again")
        return stats

    def _read_stats(self, began: str) -> RouterStats:
        table = self.runtime.query(counters.ASK)
        seen = self._read_runtime()
        sides = counters.parse_sides(table)
        own, others = (self._sum(sides, side) for side in (self.canary, get_other_side(self.canary)))
        places = frozenset(place for place in _list_places(seen, self.canary) if not is_backup(place.partition("/")[2]))
        return RouterStats(
            canary=own,
            stable=others,
            baseline=self._sum(sides, BASELINE) if self.baseline else None,
            baseline_replicas=self._count_replicas(seen, BASELINE),
            baseline_healthy=self._is_up(seen, BASELINE),
            baseline_tripped=self._is_tripped(table, BASELINE),
            began=began,
            threshold=self._convert_threshold(seen.compute_share(clock=int(self.clock()))),
            canary_healthy=self._is_up(seen, self.canary),
            stable_healthy=self._is_up(seen, get_other_side(self.canary)),
            canary_restarts=self.restarts(),
            open=converge.count_active(self.runtime.query("show stat"), places) if places else 0,
            counts=self.counts(),
            canary_replicas=self._count_replicas(seen, self.canary),
            stable_replicas=self._count_replicas(seen, get_other_side(self.canary)),
            tripped=self._is_tripped(table, self.canary),
        )

    def read_seconds(self, *, after: int) -> tuple[Second, ...]:
        """See `TrafficBackend`. A second is complete shortly after its end."""
        seen, last = self._read_runtime(), int(self.clock() - _SETTLED) - 1
        limited = seen.more.get(SLOW, "0") != "0"
        rows = by_second.read(self.runtime.query(by_second.render_query(after=max(after, 0))))
        found = [
            Second(
                at=row.at,
                replica=row.replica,
                side=self._translate_side(row.key.rpartition(".")[2]),
                requests=row.requests,
                failed=row.failed,
                first_failed=row.first_failed,
                first_slow=row.first_slow if limited else None,
                times=row.times,
            )
            for row in rows
            if after < row.at <= last and self._is_current(row, seen)
        ]
        if SLOW in seen.more and (after < last or not self.before):
            found += self._read_unserved(last)
        return tuple(sorted(found, key=lambda second: (second.at, second.side, second.replica)))

    def _is_current(self, row: by_second.ReplicaSecond, seen: RouterRuntime) -> bool:
        """True if the replica serves now, as opposed to an earlier canary on this side."""
        side = row.key.rpartition(".")[2]
        if side == BASELINE and not self.baseline:
            return False
        return self._is_mine(row.key, side) and row.replica in seen.servers.get(row.key, {})

    def _read_unserved(self, at: int) -> list[Second]:
        """Return the unserved requests since the last call, dated to the last second; none at the first call."""
        found, now = [], counters.read_unserved(self.runtime.query(counters.ASK))
        for side in (self.canary, get_other_side(self.canary), *((BASELINE,) if self.baseline else ())):
            own = [counts for key, counts in now.items() if self._is_mine(key, side)]
            requests, first = (sum(each) for each in zip(*own, strict=True)) if own else (0, 0)
            before = self.before.get(side)
            self.before[side] = (requests, first)
            if before is None:
                continue
            more = requests - before[0] if requests >= before[0] else requests
            firsts = first - before[1] if first >= before[1] else first
            if more:
                found.append(
                    Second(
                        at=at,
                        replica="",
                        side=self._translate_side(side),
                        requests=more,
                        failed=more,
                        first_failed=firsts,
                    )
                )
        return found

    def _translate_side(self, side: str) -> str:
        return {self.canary: CANARY, BASELINE: BASELINE}.get(side, STABLE)

    def lease_share(self, *, threshold: int, safe: int, generation: int = 0, slow: int = 0) -> None:
        """See `TrafficBackend`."""
        now = int(self.clock())
        share, fallback = self._convert_threshold(threshold), self._convert_threshold(safe)
        self.keep(fallback)
        until = now + LEASE
        for command in converge.plan_lease(
            self._read_runtime(), share=share, safe=fallback, until=until, clock=now, generation=generation, slow=slow
        ):
            self.runtime.execute(command)

    def reopen(self, *, baseline: bool = False) -> None:
        """See `TrafficBackend`."""
        for key in self._find_tripped(self.runtime.query(counters.ASK), BASELINE if baseline else self.canary):
            self.runtime.execute(counters.render_reopen(key))

    def _is_tripped(self, table: str, side: str) -> bool:
        return any(self._find_tripped(table, side))

    def _find_tripped(self, table: str, side: str) -> list[str]:
        """Return the keys of a side that the router has shut out."""
        return [key for key in counters.find_shut_out(table) if self._is_mine(key, side)]

    def _read_runtime(self) -> RouterRuntime:
        return converge.parse_runtime(self.runtime.query(converge.ASK_SERVERS), self.runtime.query(converge.ASK_SHARE))

    def _convert_threshold(self, share: int) -> int:
        """Convert between buckets of the canary and of green, in both directions."""
        return share if self.canary == GREEN else WHOLE - share

    def _is_mine(self, key: str, side: str) -> bool:
        process, _, of = key.rpartition(".")
        return of == side and (not self.processes or process in self.processes)

    def _sum(self, sides: dict[str, Side], side: str) -> Side:
        return sum((found for key, found in sides.items() if self._is_mine(key, side)), Side())

    def _is_up(self, seen: RouterRuntime, side: str) -> bool:
        """True if every process of a side has a healthy server."""
        backends = [
            [server.up for name, server in servers.items() if not is_backup(name)]
            for backend, servers in seen.servers.items()
            if self._is_mine(backend, side)
        ]
        return bool(backends) and all(any(servers) for servers in backends)

    def _count_replicas(self, seen: RouterRuntime, side: str) -> int:
        """Count the servers of a side that may get requests; all servers if none may."""
        servers = [
            server.up
            for backend, named in seen.servers.items()
            if self._is_mine(backend, side)
            for name, server in named.items()
            if not is_backup(name)
        ]
        return sum(servers) or len(servers)

    def _identify_router(self) -> str:
        """Return the identity of the HAProxy process; a new one counts from 0."""
        return counters.identify_router(self.runtime.query("show info"))


def _list_places(seen: RouterRuntime, side: str) -> list[str]:
    return [
        f"{backend}/{name}"
        for backend, servers in seen.servers.items()
        for name in servers
        if backend.endswith(f".{side}")
    ]
