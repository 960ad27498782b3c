"""Controller of a gray release: observe, decide, record, update the router; once a second, until the end.

If it is killed, the next one resumes from the record; a raised share is only leased, so that it has not risen since.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.errors import RouterUnavailable
from devbox.gray.decide import GrayObservation, compute_traffic, decide
from devbox.gray.release import GrayRelease
from devbox.gray.state import WARM, GrayState, MetricReading
from devbox.model.stage import Counts
from devbox.model.traffic import HISTORY, Batch, Second, Side

TICK = 1.0  # seconds between observations
PATIENCE = 60.0  # seconds until a crashed router must be back


@dataclass(frozen=True, kw_only=True)
class RouterStats:
    """State of the router and its servers. `began`: start of its counters; `threshold`: buckets of the canary.

    `canary_replicas`, `stable_replicas`: servers of each side that may get requests, over all judged processes.
    `baseline`: None without fresh replicas of stable.
    """

    canary: Side
    stable: Side
    began: str
    threshold: int
    canary_healthy: bool
    stable_healthy: bool
    canary_restarts: int = 0
    open: int = 0
    tripped: bool = False
    canary_replicas: int = 1
    stable_replicas: int = 1
    counts: Counts | None = None  # lost requests of the stage by cause
    baseline: Side | None = None
    baseline_replicas: int = 0
    baseline_healthy: bool = False
    baseline_tripped: bool = False

    def count_since(self, earlier: RouterStats) -> Batch:
        """Return the counts since an earlier observation; all of them if the router was restarted."""
        if self.began != earlier.began:
            return Batch(canary=self.canary, stable=self.stable, baseline=self.baseline)
        return Batch(
            canary=self.canary.subtract(earlier.canary),
            stable=self.stable.subtract(earlier.stable),
            baseline=self.baseline.subtract(earlier.baseline or Side()) if self.baseline else None,
        )


class TrafficBackend(Protocol):
    """Interface to the traffic of a gray release."""

    def read_stats(self) -> RouterStats:
        """Observe once. RouterUnavailable if the router does not respond."""

    def read_seconds(self, *, after: int) -> tuple[Second, ...]:
        """Return the complete seconds after `after` (since the epoch), oldest first, by replica.

        Empty if a router started by an earlier devbox does not count by second.
        """

    def lease_share(self, *, threshold: int, safe: int, generation: int = 0, slow: int = 0) -> None:
        """Lease `threshold` buckets to the canary; without a renewal, `safe` applies, which is also stored on disk.

        `generation`: period in which each client's first failure, and first response slower than `slow` microseconds
        (one of TIMES), is counted; 0 outside a release. Called at every observation, as a renewal.
        """

    def reopen(self, *, baseline: bool = False) -> None:
        """Let requests reach a canary or baseline that the router has shut out."""


@dataclass(kw_only=True)
class Controller:
    """One gray release in progress. `on_look` gets every observation, `on_change` every new phase and step.

    `readings`: external metrics since the last call. `until`: phases that end this controller. `on_unreachable` is
    called once when the router does not respond; decisions wait for its return.
    """

    gray_store: GrayStore
    backend: TrafficBackend
    until: Iterable[str]
    on_look: Callable[[GrayRelease, RouterStats], None]
    on_change: Callable[[GrayRelease], None]
    readings: Callable[[], tuple[MetricReading, ...]] = tuple
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic  # unaffected by changes of the system time
    pause: Callable[[float], None] = time.sleep
    on_unreachable: Callable[[], None] = lambda: None
    tick: float = TICK
    wish: OperatorRequest | None = None  # initial request
    _last: RouterStats | None = field(default=None, init=False)
    _unreachable_since: float | None = field(default=None, init=False)

    def run(self, gray_release: GrayRelease) -> GrayRelease:
        """Control the release until one of the phases `until`; return the result."""
        while gray_release.rollout.phase not in self.until or self.wish is not None:
            stats = self._read_stats()
            gray_release = self._observe(gray_release, stats) if stats else gray_release
            if gray_release.rollout.phase not in self.until:
                self.pause(self.tick)
        return gray_release

    def _read_stats(self) -> RouterStats | None:
        """Return None while the router does not respond; RouterUnavailable after PATIENCE."""
        try:
            stats = self.backend.read_stats()
        except RouterUnavailable:
            if self._unreachable_since is None:
                self._unreachable_since = self.clock()
                self.on_unreachable()
            elif self.clock() - self._unreachable_since > PATIENCE:
                raise
            return None
        self._unreachable_since = None
        return stats

    def _observe(self, gray_release: GrayRelease, stats: RouterStats) -> GrayRelease:
        wish, self.wish = self.wish or self.gray_store.consume_request(gray_release), None
        batch = stats.count_since(self._last) if self._last else Batch(canary=Side(), stable=Side())
        now = self.now()
        batch = replace(batch, seconds=self._read_seconds(gray_release, now))
        observation = GrayObservation(
            now=now,
            batch=batch,
            threshold=stats.threshold,
            canary_healthy=stats.canary_healthy,
            stable_healthy=stats.stable_healthy,
            canary_restarts=stats.canary_restarts,
            open=stats.open,
            tripped=stats.tripped and gray_release.rollout.phase != WARM,
            asked=wish.what if wish else "",
            by=wish.by if wish else "",
            readings=self.readings(),
            canary_replicas=stats.canary_replicas,
            stable_replicas=stats.stable_replicas,
            baseline_replicas=stats.baseline_replicas,
            baseline_healthy=stats.baseline_healthy,
            baseline_tripped=stats.baseline_tripped,
        )
        after = decide(gray_release.rollout, observation, gray_release.policy)
        seen = gray_release.add_observation(
            after, batch, now=now, threshold=compute_traffic(after, gray_release.policy).threshold
        ).add_counts(stats.counts)
        self._apply(gray_release, seen, stats)
        self.on_look(seen, stats)
        return seen

    def _read_seconds(self, gray_release: GrayRelease, now: float) -> tuple[Second, ...]:
        """Return new seconds; none while the router is away: the next observation has them."""
        known = gray_release.rollout.compared
        with contextlib.suppress(RouterUnavailable):
            until = min(known.until if known else 0, int(now))  # the clock may have been set back
            return self.backend.read_seconds(after=max(until, int(now) - HISTORY - 1))
        return ()

    def _apply(self, before: GrayRelease, after: GrayRelease, stats: RouterStats) -> None:
        """Write the record, then update the router: after a crash, the record is never behind the router.

        A new share starts a new batch. If the router is away, the next observation renews the lease.
        """
        changed = _read_position(before.rollout) != _read_position(after.rollout)
        goal = compute_traffic(after.rollout, after.policy)
        self.gray_store.write(after)
        self._last = stats
        with contextlib.suppress(RouterUnavailable):
            self.backend.lease_share(
                threshold=goal.threshold, safe=goal.safe, generation=goal.generation, slow=goal.slow
            )
            if goal.reopen:
                self.backend.reopen()
            if goal.reopen_baseline:
                self.backend.reopen(baseline=True)
            if goal.threshold != stats.threshold:
                self._last = self.backend.read_stats()
        if changed:
            self.on_change(after)


def _read_position(rollout: GrayState) -> tuple[str, int, bool]:
    return rollout.phase, rollout.step, rollout.held


def allow_completion(gray_release: GrayRelease) -> GrayRelease:
    """Allow the gray release to reach 100 % without another promotion: the awaited promotion has started."""
    return replace(gray_release, policy=replace(gray_release.policy, completes=True))
