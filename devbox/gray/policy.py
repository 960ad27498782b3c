"""Policy of a gray release, with defaults applied. Pure."""

from __future__ import annotations

from devbox.model.frozen import dataclass
from devbox.model.stage import ExternalMetric, Strategy

WHOLE = 10_000  # buckets, the units of traffic
TRUST = 0.05  # error probability of the bound on harm over a rollout
STEPS = (5.0, 20.0, 50.0)
MARGIN = 0.02
TIMEOUT = 2 * 3600.0
FRESH = "fresh"  # kind of baseline: new replicas of stable


@dataclass(frozen=True, kw_only=True)
class WatchedMetric:
    """One metric: "errors", or "latency" (slower than stable's `quantile`). `alpha`: its false alarm rate."""

    name: str
    alpha: float
    quantile: float = 0.99


@dataclass(frozen=True, kw_only=True)
class Policy:
    """`steps` are thresholds in buckets of WHOLE. `completes`: reaches 100 % without a second promotion.

    `watches` are judged by the router's counts, `outside` by limits. `warmup_requests`, `warmup_seconds`: initial
    requests and time of each canary replica without response times. `baseline`: see `Strategy`.
    """

    steps: tuple[int, ...]
    min_time: float
    min_requests: int
    timeout: float
    bake: float
    margin: float
    watches: tuple[WatchedMetric, ...]
    outside: tuple[ExternalMetric, ...] = ()
    irreversible: bool = False
    rehearse: bool = False
    completes: bool = False
    warmup_requests: int = 20
    warmup_seconds: float = 0.0
    baseline: str = "stable"

    @property
    def has_baseline(self) -> bool:
        """True if the canary is compared with a baseline of new replicas."""
        return self.baseline == FRESH

    @property
    def control(self) -> str:
        """Name of the control in sentences."""
        return "the baseline" if self.has_baseline else "stable"

    def find_share(self, step: int) -> int:
        """Return the threshold of a step; 0 before the first."""
        return self.steps[step] if step >= 0 else 0


def build_policy(strategy: Strategy, *, completes: bool) -> Policy:
    """Return the policy of a stage's strategy."""
    return Policy(
        steps=tuple(max(1, round(percent * WHOLE / 100)) for percent in strategy.steps or STEPS),
        min_time=strategy.min_time,
        min_requests=strategy.min_requests,
        timeout=TIMEOUT if strategy.timeout is None else strategy.timeout,
        bake=strategy.bake,
        margin=MARGIN if strategy.margin is None else strategy.margin,
        watches=_build_watches(strategy),
        outside=strategy.outside,
        irreversible=strategy.irreversible,
        rehearse=strategy.rehearse,
        completes=completes,
        warmup_requests=strategy.warmup.requests,
        warmup_seconds=strategy.warmup.seconds,
        baseline=strategy.baseline,
    )


def _build_watches(strategy: Strategy) -> tuple[WatchedMetric, ...]:
    """Return every metric with its share of alpha: its own, or an equal part of the remainder."""
    if not strategy.metrics:
        return (WatchedMetric(name="errors", alpha=strategy.alpha),)
    given = sum(metric.alpha or 0.0 for metric in strategy.metrics)
    open_ones = sum(metric.alpha is None for metric in strategy.metrics)
    part = max(0.0, strategy.alpha - given) / open_ones if open_ones else 0.0
    return tuple(
        WatchedMetric(name=metric.name, alpha=part if metric.alpha is None else metric.alpha, quantile=metric.quantile)
        for metric in strategy.metrics
    )
