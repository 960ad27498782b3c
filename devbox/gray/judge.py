"""Judgment by second: whether a release does harm, or whether that is not clear yet. Pure.

Without counts by second, `decide` uses the totals of both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from devbox.gray.comparison import Comparison, MetricComparison
from devbox.gray.e_values import Tally
from devbox.gray.history import FAILED, FIRST, SLOW, StableHistory
from devbox.gray.latency import LatencyLimits
from devbox.gray.policy import WHOLE, Policy, WatchedMetric
from devbox.gray.state import BAKE, FEWEST_FOR_A_LIMIT, WARM, GrayState
from devbox.gray.windows import TrafficSplit, Values
from devbox.model.traffic import CANARY, STABLE, Second

ERRORS, LATENCY = "errors", "latency"
_SHORTEST = 10  # seconds of the bake before its failure rate is judged
REST = 1e-6  # nats that must remain without the worst replica's worst 20 seconds: more than rounding errors
_TESTS = 2  # tests of response times, which share alpha


def add_seconds(
    rollout: GrayState,
    seconds: Sequence[Second],
    policy: Policy,
    *,
    place: TrafficSplit | None,
    before: float,
    in_force: bool,
) -> GrayState:
    """Add the seconds counted by the router. `place` None: no comparison at present.

    `before`: start of this phase. `in_force`: the router applies the share of this phase.
    """
    if rollout.compared is None and not seconds:
        return rollout
    quantile = next((watch.quantile for watch in policy.watches if watch.name == LATENCY), 0.99)
    compared = rollout.compared or Comparison(history=_build_history(rollout, quantile=quantile))
    if rollout.phase == WARM:
        return _set_limit(
            replace(rollout, compared=compared.add_warmup(seconds, quantile=quantile, fewest=FEWEST_FOR_A_LIMIT))
        )
    now = rollout.looked_at or before
    if place is None:
        return replace(rollout, compared=compared.skip(until=now))
    if compared.place is None or compared.place.shares != place.shares:
        baking = place.share >= 1 and compared.place is not None
        compared = (compared.reset() if baking else compared).change_split(place, since=before)
    elif place != compared.place:
        compared = compared.resize(place, now=now)
    if not in_force:
        compared = compared.skip(until=now)
    seen = compared.add_seconds(seconds, requests=policy.warmup_requests, warmup=policy.warmup_seconds)
    return _add_times(replace(rollout, compared=seen), compared)


def _build_history(rollout: GrayState, *, quantile: float) -> StableHistory:
    """Return the history of a release without seconds before the first step: response times only."""
    if rollout.phase == WARM or rollout.warm.requests < FEWEST_FOR_A_LIMIT:
        return StableHistory()
    return StableHistory(all=rollout.warm, limits=LatencyLimits.from_history(rollout.warm, quantile=quantile))


def _set_limit(rollout: GrayState) -> GrayState:
    """Set the response time limit to stable's quantile, from its history alone."""
    limits = rollout.compared.history.limits if rollout.compared else None
    if LATENCY not in rollout.judged:
        return rollout
    judged = replace(rollout.judged[LATENCY], limit=limits.tail_time if limits else None)
    return replace(rollout, judged={**rollout.judged, LATENCY: judged})


def _add_times(rollout: GrayState, before: Comparison) -> GrayState:
    """Add the response times of warm replicas to the bound on harm."""
    if LATENCY not in rollout.judged or rollout.compared is None or rollout.phase == BAKE:
        return rollout
    counts = []
    for side in (CANARY, STABLE):
        now, then = rollout.compared.timed.get(side, (0, 0)), before.timed.get(side, (0, 0))
        counts.append((now[0] - then[0], now[1] - then[1]))
    judged = rollout.judged[LATENCY].add_requests(*counts, step=rollout.step)
    return replace(rollout, judged={**rollout.judged, LATENCY: judged})


def find_harm(rollout: GrayState, policy: Policy) -> str:
    """Return why the release must be rolled back; "" if none."""
    compared = rollout.compared
    if compared is None:
        return ""
    if whole := compared.find_total_failure():
        return whole
    for watch in policy.watches:
        baking = compared.place is not None and compared.place.share >= 1
        if _is_bake_worse(compared, watch, policy.margin) if baking else compute_strength(compared, watch) > 1:
            return f"{watch.name}: {_describe_harm(compared, watch, baking=baking)}"
    return ""


def find_doubt(rollout: GrayState, policy: Policy) -> str:
    """Return what must become clear before the next step; "" if nothing."""
    compared = rollout.compared
    if compared is None or compared.place is None or compared.place.share >= 1:
        return ""
    for watch in policy.watches:
        _, found, limit = _select_evidence(compared, watch)
        common = watch.name == LATENCY and found.same_time <= 0  # both sides are slower than before: load
        if found.same_time > limit or (found.more_often > limit and not common):
            harm = _describe_harm(compared, watch, baking=False)
            return f"for clear evidence: {harm}; but {_explain_doubt(compared, watch)}"
    return ""


def _explain_doubt(compared: Comparison, watch: WatchedMetric) -> str:
    """Explain why the evidence is not clear."""
    metric, found, limit = _select_evidence(compared, watch)
    what = "failed requests" if watch.name == ERRORS else "slow requests"
    if not metric.fits:
        return f"stable has {what} for {metric.bursts.longest} s at a time, too"
    if _is_fresh(compared) and min(found.more_often, found.same_time) <= limit:
        by = "replicas" if found.more_often <= limit else "clients"
        return f"counted by {by}, the difference from the baseline is not clear"
    if found.more_often <= limit:
        return f"stable's replicas had such {what} before the release, too"
    if found.same_time <= limit:
        return f"at the same time stable has more {what} than before, too"
    return "nearly all of them come from one replica, within 20 s"


def compute_strength(compared: Comparison, watch: WatchedMetric) -> float:
    """Return the evidence as a share of the abort threshold; never negative, 0 without traffic."""
    metric, values, limit = _select_evidence(compared, watch)
    found = min(values.same_time, values.more_often) / limit
    # A replica that is down now still counts as another one: its earlier failures alone are not enough.
    alone = compared.place is None or (compared.place.canaries == 1 and compared.replicas_served <= 1)
    if not metric.fits or (values.rest <= REST and not alone):
        found = min(found, 1.0)
    if watch.name == LATENCY:
        found = max(found, compared.compute_spread_evidence() / limit)
    return max(0.0, found)


def compute_parts(compared: Comparison, watch: WatchedMetric) -> tuple[float, float]:
    """Return both e-values as shares of the abort threshold, at least 0: same seconds, and incidents."""
    _, found, limit = _select_evidence(compared, watch)
    return max(0.0, found.same_time / limit), max(0.0, found.more_often / limit)


def _select_evidence(compared: Comparison, watch: WatchedMetric) -> tuple[MetricComparison, Values, float]:
    """Return a metric with its two e-values and their threshold, in nats."""
    if watch.name == ERRORS:
        return compared.errors, compared.compute_error_evidence(), math.log(1 / watch.alpha)
    return compared.slow, compared.compute_slow_evidence(), math.log(_TESTS / watch.alpha)


def _is_bake_worse(compared: Comparison, watch: WatchedMetric, margin: float) -> bool:
    """True if the bake is worse than stable's history by more than the margin: at 100 % no other control exists."""
    _, found, limit = _select_evidence(compared, watch)
    errors = watch.name == ERRORS
    lately = compared.count_recent(FIRST if errors else SLOW)
    if found.more_often <= limit or len(compared.moments) < _SHORTEST:
        return False
    past = compared.history
    return lately.rate > past.find_worst(past.failed if errors else past.slow) + margin


def _describe_harm(compared: Comparison, watch: WatchedMetric, *, baking: bool) -> str:
    errors = watch.name == ERRORS
    count, what = (FAILED, "failed") if errors else (SLOW, "were slow")
    canary, stable = (
        compared.count_total(side, count) if errors else compared.count_timed(side) for side in (CANARY, STABLE)
    )
    if watch.name == LATENCY and not baking and _is_slow_overall(compared, watch):
        counts = f"({canary.requests} and {stable.requests} requests)"
        return f"the canary's responses take longer than {_name_control(compared)}'s {counts}"
    when = "in the bake " if baking else ""
    control = "" if baking else f", {_format_count(compared, STABLE, count, stable)} of {_name_control(compared)}'s"
    return f"{when}{_format_count(compared, CANARY, count, canary)} of the canary's requests {what}{control}"


def _format_count(compared: Comparison, side: str, count: int, tally: Tally) -> str:
    return f"{tally.rate:.2%} ({tally.bad} of {tally.requests}: {compared.describe_failures(side, count)})"


def _is_slow_overall(compared: Comparison, watch: WatchedMetric) -> bool:
    """True if response times in general are stronger evidence than the slowest ones."""
    _, found, _ = _select_evidence(compared, watch)
    return compared.compute_spread_evidence() > min(found.same_time, found.more_often)


def build_split(
    rollout: GrayState, *, threshold: int, canaries: int, stables: int, baselines: int | None = None
) -> TrafficSplit | None:
    """Return the split of a comparison at this share; None without traffic to compare. See `from_share`."""
    if threshold <= 0 or rollout.step < 0:
        return None
    return TrafficSplit.from_share(
        threshold / WHOLE,
        canaries=max(1, canaries),
        stables=max(1, stables),
        baselines=None if baselines is None else max(1, baselines),
    )


def _is_fresh(compared: Comparison) -> bool:
    return compared.place is not None and compared.place.has_baseline


def _name_control(compared: Comparison) -> str:
    return "the baseline" if _is_fresh(compared) else "stable"
