"""Where a gray release happens on this machine: the stage's router, and the containers of both sides behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import field

from devbox.errors import RouterAway
from devbox.execute.controller import Sight
from devbox.frozen import dataclass
from devbox.model.stage import Counts
from devbox.model.traffic import BASELINE, CANARY, STABLE, Second, Side
from devbox.routing import converge, counters
from devbox.routing import seconds as by_second
from devbox.routing.cohort import LEASE, SLOW
from devbox.routing.converge import Seen
from devbox.routing.runtime import Runtime
from devbox.routing.state import GREEN, WHOLE, is_backup, other

_SETTLED = 0.2  # seconds after which no response of a second is still being counted


@dataclass(frozen=True, kw_only=True)
class RoutedGround:
    """`canary`: the side on trial; `processes`: whose traffic is judged, all where empty.

    `keep`: has this share on disk, from which a router that crashes starts. `restarts`: of the canary's containers,
    since they came. `baseline`: whether fresh replicas of stable are there to be compared with.
    """

    runtime: Runtime
    canary: str
    processes: Collection[str]
    keep: Callable[[int], None]
    restarts: Callable[[], int]
    baseline: bool = False
    clock: Callable[[], float] = time.time
    counts: Callable[[], Counts | None] = lambda: None  # lost requests of the stage until now
    before: dict[str, tuple[int, int]] = field(default_factory=dict)  # by side, what no server answered until now

    def sight(self) -> Sight:
        """See `controller.Ground`."""
        began = self._began()
        sight = self._sight(began)
        if self._began() != began:  # the answers are of two, or none is whole
            raise RouterAway("the router began anew just now", remedy="try again")
        return sight

    def _sight(self, began: str) -> Sight:
        table = self.runtime.ask(counters.ASK)
        seen = self._seen()
        sides = counters.read(table)
        mine, others = (self._sum(sides, side) for side in (self.canary, other(self.canary)))
        places = frozenset(place for place in _places(seen, self.canary) if not is_backup(place.partition("/")[2]))
        return Sight(
            canary=mine,
            stable=others,
            baseline=self._sum(sides, BASELINE) if self.baseline else None,
            baseline_replicas=self._replicas(seen, BASELINE),
            baseline_healthy=self._up(seen, BASELINE),
            baseline_tripped=self._is_tripped(table, BASELINE),
            began=began,
            threshold=self._threshold(seen.effective(clock=int(self.clock()))),
            canary_healthy=self._up(seen, self.canary),
            stable_healthy=self._up(seen, other(self.canary)),
            canary_restarts=self.restarts(),
            open=converge.active(self.runtime.ask("show stat"), places) if places else 0,
            counts=self.counts(),
            canary_replicas=self._replicas(seen, self.canary),
            stable_replicas=self._replicas(seen, other(self.canary)),
            tripped=self._is_tripped(table, self.canary),
        )

    def seconds(self, *, after: int) -> tuple[Second, ...]:
        """See `controller.Ground`. A second is complete when it has been over for a moment."""
        seen, last = self._seen(), int(self.clock() - _SETTLED) - 1
        limited = seen.more.get(SLOW, "0") != "0"
        rows = by_second.read(self.runtime.ask(by_second.ask(after=max(after, 0))))
        found = [
            Second(
                at=row.at,
                replica=row.replica,
                side=self._name(row.key),
                requests=row.requests,
                failed=row.failed,
                first_failed=row.first_failed,
                first_slow=row.first_slow if limited else None,
                times=row.times,
            )
            for row in rows
            if after < row.at <= last and self._counts(row, seen)
        ]
        if SLOW in seen.more and (after < last or not self.before):
            found += self._without_server(last)
        return tuple(sorted(found, key=lambda second: (second.at, second.side, second.replica)))

    def _counts(self, row: by_second.Counted, seen: Seen) -> bool:
        """Whether it is a replica that serves now: an earlier canary of this side is not this one."""
        side = row.key.rpartition(".")[2]
        if side == BASELINE and not self.baseline:
            return False
        return self._is_mine(row.key, side) and row.replica in seen.servers.get(row.key, {})

    def _without_server(self, at: int) -> list[Second]:
        """What came since this was asked last, as of the last second: the first time is where counting begins."""
        found, now = [], counters.without_server(self.runtime.ask(counters.ASK))
        for side in (self.canary, other(self.canary), *((BASELINE,) if self.baseline else ())):
            mine = [counts for key, counts in now.items() if self._is_mine(key, side)]
            requests, first = (sum(each) for each in zip(*mine, strict=True)) if mine else (0, 0)
            before = self.before.get(side)
            self.before[side] = (requests, first)
            if before is None:
                continue
            more = requests - before[0] if requests >= before[0] else requests
            firsts = first - before[1] if first >= before[1] else first
            if more:
                found.append(
                    Second(at=at, replica="", side=self._side(side), requests=more, failed=more, first_failed=firsts)
                )
        return found

    def _name(self, key: str) -> str:
        return self._side(key.rpartition(".")[2])

    def _side(self, side: str) -> str:
        return {self.canary: CANARY, BASELINE: BASELINE}.get(side, STABLE)

    def lend(self, *, threshold: int, safe: int, generation: int = 0, slow: int = 0) -> None:
        """See `controller.Ground`."""
        now = int(self.clock())
        share, fallback = self._threshold(threshold), self._threshold(safe)
        self.keep(fallback)
        until = now + LEASE
        for command in converge.lend(
            self._seen(), share=share, safe=fallback, until=until, clock=now, generation=generation, slow=slow
        ):
            self.runtime.tell(command)

    def reopen(self, *, baseline: bool = False) -> None:
        """See `controller.Ground`."""
        for key in self._tripped(self.runtime.ask(counters.ASK), BASELINE if baseline else self.canary):
            self.runtime.tell(counters.reopen(key))

    def _is_tripped(self, table: str, side: str) -> bool:
        return any(self._tripped(table, side))

    def _tripped(self, table: str, side: str) -> list[str]:
        """The keys of a side that the router has shut out."""
        return [key for key in counters.find_shut_out(table) if self._is_mine(key, side)]

    def _seen(self) -> Seen:
        return converge.seen(self.runtime.ask(converge.ASK_SERVERS), self.runtime.ask(converge.ASK_SHARE))

    def _threshold(self, share: int) -> int:
        """Buckets of the canary ↔ buckets of green: the one and the other way."""
        return share if self.canary == GREEN else WHOLE - share

    def _is_mine(self, key: str, side: str) -> bool:
        process, _, of = key.rpartition(".")
        return of == side and (not self.processes or process in self.processes)

    def _sum(self, sides: dict[str, Side], side: str) -> Side:
        return sum((found for key, found in sides.items() if self._is_mine(key, side)), Side())

    def _up(self, seen: Seen, side: str) -> bool:
        """Whether every process that is served on a side has somebody there who answers."""
        backends = [
            [server.up for name, server in servers.items() if not is_backup(name)]
            for backend, servers in seen.servers.items()
            if self._is_mine(backend, side)
        ]
        return bool(backends) and all(any(servers) for servers in backends)

    def _replicas(self, seen: Seen, side: str) -> int:
        """Servers of a side that may get requests; all there are, where none may."""
        servers = [
            server.up
            for backend, named in seen.servers.items()
            if self._is_mine(backend, side)
            for name, server in named.items()
            if not is_backup(name)
        ]
        return sum(servers) or len(servers)

    def _began(self) -> str:
        """Which HAProxy it is: another one counts from 0."""
        return counters.counting(self.runtime.ask("show info"))


def _places(seen: Seen, side: str) -> list[str]:
    return [
        f"{backend}/{name}"
        for backend, servers in seen.servers.items()
        for name in servers
        if backend.endswith(f".{side}")
    ]
