"""Stored gray release: deployment, state, and history of observations. Pure."""

from __future__ import annotations

import math
from dataclasses import field, replace

from devbox.gray import judge
from devbox.gray.policy import Policy, WatchedMetric
from devbox.gray.state import OVER, GrayState
from devbox.model.frozen import dataclass
from devbox.model.ledger_payloads import GrayPayload, SideRequests
from devbox.model.stage import Counts, Deployment
from devbox.model.traffic import Batch, Side

MOST_POINTS = 600  # points of the curves; above, every other one is dropped


@dataclass(frozen=True, kw_only=True)
class Point:
    """Counts of one interval: requests and errors of both sides, 99 % response times in µs, and evidence.

    `evidence`: against the canary, in nats by metric. `parts`: its components (same seconds, incidents) as shares of
    the abort threshold; empty without counts by second. `baseline`: None without one.
    """

    at: float
    phase: str
    step: int
    threshold: int
    canary: tuple[int, int]
    stable: tuple[int, int]
    canary_p99: int | None = None
    stable_p99: int | None = None
    evidence: dict[str, float] = field(default_factory=dict)
    parts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    baseline: tuple[int, int] | None = None
    baseline_p99: int | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of phase or step, with its reason. Counts of each side are totals."""

    at: float
    phase: str
    step: int
    threshold: int
    reason: str
    canary: tuple[int, int]
    stable: tuple[int, int]
    lost: int
    baseline: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class GrayRelease:
    """One gray release. `deployment` is kept in the environment after a success.

    `side`: router side of the release. `canary` and `stable` count from the beginning, `recent` from the last point.
    `settled`: the result is applied, with all traffic on one side and the other side removed.
    """

    stage: str
    deployment: Deployment
    policy: Policy
    rollout: GrayState
    side: str
    began: float
    canary: Side = field(default_factory=Side)
    stable: Side = field(default_factory=Side)
    recent: Batch = field(default_factory=lambda: Batch(canary=Side(), stable=Side()))
    points: tuple[Point, ...] = ()
    changes: tuple[Change, ...] = ()
    thinned: int = 1  # minimum interval of a point in seconds
    settled: bool = False
    counts_before: Counts | None = None  # lost requests of the stage before the start, and so far
    counts: Counts | None = None
    baseline: Side | None = None  # fresh replicas of stable, if the policy has them; not included in `stable`

    @property
    def release(self) -> str:
        """ID of the release."""
        return self.deployment.release.id

    @property
    def is_over(self) -> bool:
        """True if the gray release has ended."""
        return self.rollout.phase in OVER

    @property
    def lost_requests(self) -> int:
        """Lost requests of the stage since the start, from any cause."""
        sides = (self.canary, self.stable, self.baseline or Side())
        return self.losses.total if self.losses else sum(side.lost for side in sides)

    @property
    def losses(self) -> Counts | None:
        """Lost requests by cause; None if the router does not count causes."""
        return self.counts.subtract(self.counts_before) if self.counts else None

    def add_counts(self, counts: Counts | None) -> GrayRelease:
        """Apply a newer reading of lost requests, if any."""
        return replace(self, counts=counts) if counts else self

    def compute_strength(self, watch: WatchedMetric) -> float:
        """Return a metric's evidence against the canary as a share of the abort threshold."""
        if self.rollout.compared is not None:
            return judge.compute_strength(self.rollout.compared, watch)
        log = self.rollout.judged[watch.name].evidence.log
        return max(0.0, log) / math.log(1 / watch.alpha) if watch.alpha else 0.0

    def compute_evidence(self) -> dict[str, float]:
        """Return the evidence against the canary by metric, in nats."""
        return {watch.name: self.compute_strength(watch) * math.log(1 / watch.alpha) for watch in self.policy.watches}

    def compute_parts(self) -> dict[str, tuple[float, ...]]:
        """See `Point`."""
        compared = self.rollout.compared
        return {watch.name: judge.compute_parts(compared, watch) for watch in self.policy.watches} if compared else {}

    def add_observation(self, rollout: GrayState, batch: Batch, *, now: float, threshold: int) -> GrayRelease:
        """Add an observation."""
        seen = replace(
            self,
            rollout=rollout,
            canary=self.canary + batch.canary,
            stable=self.stable + batch.stable,
            baseline=_add_sides(self.baseline, batch.baseline),
            recent=Batch(
                canary=self.recent.canary + batch.canary,
                stable=self.recent.stable + batch.stable,
                baseline=_add_sides(self.recent.baseline, batch.baseline),
            ),
        )
        if (rollout.phase, rollout.step) != (self.rollout.phase, self.rollout.step):
            seen = replace(seen, changes=(*seen.changes, seen.build_change(now, threshold)))
        last = self.points[-1].at if self.points else 0.0
        return (
            seen if 0 <= now - last < self.thinned else _append_point(seen, now, threshold)
        )  # < 0: the clock was set back

    def build_payload(self) -> GrayPayload:
        """Return the payload of the ledger entry: the state and the counts so far."""
        return GrayPayload(
            phase=self.rollout.phase,
            step=self.rollout.step,
            held=self.rollout.held,
            reason=self.rollout.reason,
            threshold=self.changes[-1].threshold if self.changes else 0,
            canary=_summarize_side(self.canary),
            stable=_summarize_side(self.stable),
            baseline=_summarize_side(self.baseline) if self.baseline else None,
            evidence={name: round(nats, 3) for name, nats in self.compute_evidence().items()},
            lost=self.lost_requests,
            lost_by_cause=self.losses.lost if self.losses else None,
            lost_unknown=self.losses.unknown if self.losses else None,
        )

    def build_change(self, now: float, threshold: int) -> Change:
        """Return the current state as a change."""
        return Change(
            at=now,
            phase=self.rollout.phase,
            step=self.rollout.step,
            threshold=threshold,
            reason=self.rollout.reason,
            canary=(self.canary.requests, self.canary.errors),
            stable=(self.stable.requests, self.stable.errors),
            lost=self.lost_requests,
            baseline=_count_side(self.baseline),
        )


def _add_sides(one: Side | None, other: Side | None) -> Side | None:
    return one + other if one and other else one or other


def _summarize_side(side: Side) -> SideRequests:
    return SideRequests(requests=side.requests, errors=side.errors)


def _count_side(side: Side | None) -> tuple[int, int] | None:
    return (side.requests, side.errors) if side else None


def _append_point(seen: GrayRelease, now: float, threshold: int) -> GrayRelease:
    point = Point(
        at=now,
        phase=seen.rollout.phase,
        step=seen.rollout.step,
        threshold=threshold,
        canary=(seen.recent.canary.requests, seen.recent.canary.errors),
        stable=(seen.recent.stable.requests, seen.recent.stable.errors),
        canary_p99=seen.recent.canary.find_quantile(0.99),
        stable_p99=seen.recent.stable.find_quantile(0.99),
        evidence=seen.compute_evidence(),
        parts=seen.compute_parts(),
        baseline=_count_side(seen.recent.baseline),
        baseline_p99=seen.recent.baseline.find_quantile(0.99) if seen.recent.baseline else None,
    )
    points, thinned = (*seen.points, point), seen.thinned
    if len(points) > MOST_POINTS:
        points, thinned = points[::2], thinned * 2
    return replace(seen, points=points, thinned=thinned, recent=Batch(canary=Side(), stable=Side()))
