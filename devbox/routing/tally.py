"""Requests of a stage that failed for a client without an answer of the application, by cause. Pure.

HAProxy counts from 0 when it starts, and forgets everything when it is killed. A tally keeps the last reading of each
router that ended, so that counts only grow; what happened between a reading and the end of that router is bounded.
"""

from __future__ import annotations

import math
from dataclasses import field, replace

from devbox.frozen import dataclass
from devbox.model.stage import Counts

ROUTER = "router"  # the router had no server to ask
REFUSED = "refused"  # every connection to a server was refused
CUT = "cut"  # the server closed the connection before the headers of a response, or devbox after the time to drain
TRUNCATED = "truncated"  # the connection ended within a response
TIMEOUT = "timeout"  # the server did not answer in time
_RESTART = 60.0  # seconds within which a killed router is there again; without one for longer, a stage is down
CAUSES = (ROUTER, REFUSED, CUT, TRUNCATED, TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one router has counted since it started. `counts`: (what was asked, cause) → requests.

    `began`: seconds since the epoch; `open`: connections of clients; `peak`: requests in its busiest second.
    """

    router: str
    began: float
    counts: dict[tuple[str, str], int]
    open: int = 0
    peak: int = 0


@dataclass(frozen=True, kw_only=True)
class Tally:
    """All routers of a stage. `id`: of this tally; `last`: the newest reading of `router`, "KEY CAUSE" → requests.

    `gone`: by cause, of routers that ended and of counters that were reset. `unknown`: requests that may have been lost
    besides, at most, when routers were killed. `closed`: the router that was stopped in order last.
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

    def counts(self) -> Counts:
        """Totals by cause."""
        total = dict.fromkeys(CAUSES, 0) | self.gone
        for key, count in self.last.items():
            cause = key.rpartition(" ")[2]
            total[cause] = total.get(cause, 0) + count
        return Counts(router=self.id, lost=total, unknown=self.unknown)

    def add(self, cause: str, count: int) -> Tally:
        """The same with losses that HAProxy does not count."""
        return replace(self, gone={**self.gone, cause: self.gone.get(cause, 0) + count})

    def close(self) -> Tally:
        """The same when the router was stopped in order: the next one is no replacement for a killed one."""
        gone = {cause: count for cause, count in self.counts().lost.items() if count}
        return Tally(id=self.id, gone=gone, unknown=self.unknown, closed=self.router)

    def take(self, reading: Reading, *, now: float) -> Tally:
        """The same after another reading.

        Where the router is another one, every connection that was open at the last reading may have been lost, and
        every request that came until the new router started, within _RESTART: at most as many per second as in the
        busiest second.
        """
        if reading.router == self.closed:  # looked at once more while it stops
            return self
        found = {f"{key} {cause}": count for (key, cause), count in reading.counts.items()}
        replaced = bool(self.router) and self.router != reading.router
        gone, unknown = dict(self.gone), self.unknown
        for key, count in self.last.items():
            if replaced or found.get(key, 0) < count:  # another router, or a counter that was reset
                cause = key.rpartition(" ")[2]
                gone[cause] = gone.get(cause, 0) + count
        if replaced:
            away = min(max(0.0, reading.began + 1 - self.at), _RESTART)
            unknown += self.open + math.ceil(self.peak * away)
        peak = reading.peak if replaced else max(self.peak, reading.peak)
        return replace(
            self,
            router=reading.router,
            at=now,
            last=found,
            gone=gone,
            open=reading.open,
            peak=peak,
            unknown=unknown,
        )
