"""Decides by the comparison by second whether a release does harm, or whether that is not clear yet. Pure.

A router that does not count by second allows no such comparison: `decide` then uses the totals of both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from devbox.gray.comparison import Comparison, Metric
from devbox.gray.evidence import Tally
from devbox.gray.history import History
from devbox.gray.latency import Limits
from devbox.gray.moments import FAILED, FIRST, SLOW
from devbox.gray.policy import WHOLE, Policy, Watch
from devbox.gray.rollout import BAKE, FEWEST_FOR_A_LIMIT, WARM, Rollout
from devbox.gray.windows import Place, Values
from devbox.model.traffic import CANARY, STABLE, Second

ERRORS, LATENCY = "errors", "latency"
_SHORTEST = 10  # seconds of the bake after which its share of failures is believed
REST = 1e-6  # nats that have to be left without the worst replica's worst 20 seconds: more than rounding
_TESTS = 2  # of response times, which share alpha


def take_in(
    rollout: Rollout, seconds: Sequence[Second], policy: Policy, *, place: Place | None, before: float, in_force: bool
) -> Rollout:
    """Add the seconds that the router counted. `place` None: nothing is compared at present.

    `before`: when the release entered this phase. `in_force`: True if the router applies the share of this phase.
    """
    if rollout.compared is None and not seconds:
        return rollout
    quantile = next((watch.quantile for watch in policy.watches if watch.name == LATENCY), 0.99)
    compared = rollout.compared or Comparison(history=_history(rollout, quantile=quantile))
    if rollout.phase == WARM:
        return _limited(
            replace(rollout, compared=compared.warmed(seconds, quantile=quantile, fewest=FEWEST_FOR_A_LIMIT))
        )
    now = rollout.looked_at or before
    if place is None:
        return replace(rollout, compared=compared.skipped(until=now))
    if compared.place is None or compared.place.shares != place.shares:
        baking = place.share >= 1 and compared.place is not None
        compared = (compared.anew() if baking else compared).at(place, since=before)
    elif place != compared.place:
        compared = compared.resized(place, now=now)
    if not in_force:
        compared = compared.skipped(until=now)
    seen = compared.after(seconds, requests=policy.warmup_requests, warmup=policy.warmup_seconds)
    return _timed(replace(rollout, compared=seen), compared)


def _history(rollout: Rollout, *, quantile: float) -> History:
    """Return the history of a release whose first whole second comes after the first step: response times only."""
    if rollout.phase == WARM or rollout.warm.requests < FEWEST_FOR_A_LIMIT:
        return History()
    return History(all=rollout.warm, limits=Limits.of(rollout.warm, quantile=quantile))


def _limited(rollout: Rollout) -> Rollout:
    """Set the limit of response times to stable's quantile, from its history alone."""
    limits = rollout.compared.history.limits if rollout.compared else None
    if LATENCY not in rollout.judged:
        return rollout
    judged = replace(rollout.judged[LATENCY], limit=limits.tail_time if limits else None)
    return replace(rollout, judged={**rollout.judged, LATENCY: judged})


def _timed(rollout: Rollout, before: Comparison) -> Rollout:
    """Add the response times of replicas that are past their warm-up to the bound on harm."""
    if LATENCY not in rollout.judged or rollout.compared is None or rollout.phase == BAKE:
        return rollout
    counts = []
    for side in (CANARY, STABLE):
        now, then = rollout.compared.timed.get(side, (0, 0)), before.timed.get(side, (0, 0))
        counts.append((now[0] - then[0], now[1] - then[1]))
    judged = rollout.judged[LATENCY].counted(*counts, step=rollout.step)
    return replace(rollout, judged={**rollout.judged, LATENCY: judged})


def find_harm(rollout: Rollout, policy: Policy) -> str:
    """Return why the release must go back; "" if nothing speaks against it."""
    compared = rollout.compared
    if compared is None:
        return ""
    if whole := compared.fails_entirely():
        return whole
    for watch in policy.watches:
        baking = compared.place is not None and compared.place.share >= 1
        if _baked_badly(compared, watch, policy.margin) if baking else strength(compared, watch) > 1:
            return f"{watch.name}: {_described(compared, watch, baking=baking)}"
    return ""


def find_doubt(rollout: Rollout, policy: Policy) -> str:
    """Return what has to become clear before the next step; "" for nothing."""
    compared = rollout.compared
    if compared is None or compared.place is None or compared.place.share >= 1:
        return ""
    for watch in policy.watches:
        _, found, limit = _evidence(compared, watch)
        common = watch.name == LATENCY and found.same_time <= 0  # both sides are slower than before: load
        if found.same_time > limit or (found.more_often > limit and not common):
            return f"for clear evidence: {_described(compared, watch, baking=False)}; but {_but(compared, watch)}"
    return ""


def _but(compared: Comparison, watch: Watch) -> str:
    """Why the evidence is not clear."""
    metric, found, limit = _evidence(compared, watch)
    what = "failed requests" if watch.name == ERRORS else "slow requests"
    if not metric.fits:
        return f"stable has {what} for {metric.bursts.longest} s at a time itself"
    if _is_fresh(compared) and min(found.more_often, found.same_time) <= limit:
        by = "replicas" if found.more_often <= limit else "clients"
        return f"counted by {by}, the difference from the baseline is not clear"
    if found.more_often <= limit:
        return f"stable's replicas had such {what} before the release, too"
    if found.same_time <= limit:
        return f"at the same time stable has more {what} than before, too"
    return "nearly all of them are one replica's, within 20 s"


def strength(compared: Comparison, watch: Watch) -> float:
    """The evidence as a share of the evidence that aborts; above 1 it does. 0 without traffic, never below."""
    metric, values, limit = _evidence(compared, watch)
    found = min(values.same_time, values.more_often) / limit
    # One that is down just now is another replica all the same: what it failed before is not enough.
    alone = compared.place is None or (compared.place.canaries == 1 and compared.served_by <= 1)
    if not metric.fits or (values.rest <= REST and not alone):
        found = min(found, 1.0)
    if watch.name == LATENCY:
        found = max(found, compared.spread_against() / limit)
    return max(0.0, found)


def parts(compared: Comparison, watch: Watch) -> tuple[float, float]:
    """Both e-values as shares of what aborts, never below 0: of the same seconds, and of incidents."""
    _, found, limit = _evidence(compared, watch)
    return max(0.0, found.same_time / limit), max(0.0, found.more_often / limit)


def _evidence(compared: Comparison, watch: Watch) -> tuple[Metric, Values, float]:
    """A metric with its two e-values and what each has to exceed, in nats."""
    if watch.name == ERRORS:
        return compared.errors, compared.errors_against(), math.log(1 / watch.alpha)
    return compared.slow, compared.slow_against(), math.log(_TESTS / watch.alpha)


def _baked_badly(compared: Comparison, watch: Watch, margin: float) -> bool:
    """True if the bake is worse than stable's history by more than the margin: at 100 % there is no other control."""
    _, found, limit = _evidence(compared, watch)
    errors = watch.name == ERRORS
    lately = compared.lately(FIRST if errors else SLOW)
    if found.more_often <= limit or len(compared.moments) < _SHORTEST:
        return False
    past = compared.history
    return lately.rate > past.worst(past.failed if errors else past.slow) + margin


def _described(compared: Comparison, watch: Watch, *, baking: bool) -> str:
    errors = watch.name == ERRORS
    count, what = (FAILED, "failed") if errors else (SLOW, "were slow")
    canary, stable = (compared.whole(side, count) if errors else compared.warm(side) for side in (CANARY, STABLE))
    if watch.name == LATENCY and not baking and _general(compared, watch):
        counts = f"({canary.requests} and {stable.requests} requests)"
        return f"the canary's responses take longer than {_control(compared)}'s {counts}"
    when = "in the bake " if baking else ""
    control = "" if baking else f", {_counted(compared, STABLE, count, stable)} of {_control(compared)}'s"
    return f"{when}{_counted(compared, CANARY, count, canary)} of the canary's requests {what}{control}"


def _counted(compared: Comparison, side: str, count: int, tally: Tally) -> str:
    return f"{tally.rate:.2%} ({tally.bad} of {tally.requests}: {compared.described(side, count)})"


def _general(compared: Comparison, watch: Watch) -> bool:
    """Whether it is the response times in general that speak against it, more than the slowest ones."""
    _, found, _ = _evidence(compared, watch)
    return compared.spread_against() > min(found.same_time, found.more_often)


def place_of(
    rollout: Rollout, *, threshold: int, canaries: int, stables: int, baselines: int | None = None
) -> Place | None:
    """Where a comparison is made with this share; None where no traffic is to be compared. See `Place.at`."""
    if threshold <= 0 or rollout.step < 0:
        return None
    return Place.at(
        threshold / WHOLE,
        canaries=max(1, canaries),
        stables=max(1, stables),
        baselines=None if baselines is None else max(1, baselines),
    )


def _is_fresh(compared: Comparison) -> bool:
    return compared.place is not None and compared.place.fresh


def _control(compared: Comparison) -> str:
    """What the canary is compared with."""
    return "the baseline" if _is_fresh(compared) else "stable"
