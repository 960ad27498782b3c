"""Two e-values for dependent failures: within a client (retries), and within a replica (pauses, bursts).

The first one compares both sides in the same seconds. For equal sides, a client's first failure is the canary's with
probability w, the share of buckets. A burst of one replica is capped at a few failures, and in seconds with unusually
many failures of both sides only a part is staked, so that a burst of stable hides none. The second one counts
incidents, windows of a replica with many first failures, and compares their frequency with stable's, including the time
before the release, at the traffic of the least busy kind of replica; the share of large incidents likewise. Each is
wrong where the other is right, so both must be large: see docs/explanation/gray.md.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ODDS = tuple(2.0**power for power in range(1, 8))  # 2 … 128 times as likely, with equal prior weights


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Requests, and the bad ones among them: failed or slow."""

    requests: int = 0
    bad: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(requests=self.requests + other.requests, bad=self.bad + other.bad)

    @property
    def rate(self) -> float:
        """Rate of bad requests; 0 without requests."""
        return self.bad / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Evidence:
    """Log-likelihood ratio of each of ODDS against 1, over all batches so far."""

    ratios: tuple[float, ...] = (0.0,) * len(ODDS)

    def add_batch(self, *, canary: Tally, stable: Tally) -> Evidence:
        """Add a batch. A batch without requests of one side, or without bad ones, adds nothing."""
        bad = canary.bad + stable.bad
        if not bad or not canary.requests or not stable.requests:
            return self
        share = canary.requests / (canary.requests + stable.requests)
        added = (canary.bad * math.log(odds) - bad * math.log1p(share * (odds - 1)) for odds in ODDS)
        return Evidence(tuple(ratio + more for ratio, more in zip(self.ratios, added, strict=True)))

    @property
    def log(self) -> float:
        """E-value in nats: 0 at the start; above -log α, the canary is worse."""
        return compute_log_mean(self.ratios)

    def is_conclusive(self, alpha: float) -> bool:
        """True if the canary is worse; for an equal one, with probability `alpha` at most over all observations."""
        return self.log > math.log(1 / alpha)


def compute_log_mean(logs: tuple[float, ...]) -> float:
    """Return log(mean(exp(logs))) without overflow."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(logs))


WINDOWS = (2, 5, 10, 20)  # seconds; the shortest that fits stable's own bursts is used
BLOCK = 20  # seconds in which one replica's failures are capped
# Failures per incident next to a baseline, whose rate is unknown before. All levels are judged; small ones, for little
# traffic, weigh more: 1/2, 1/6, 1/12, … of the mean, as logarithms for each of ODDS.
LEVELS = tuple(2**power for power in range(11))
WEIGHTS = tuple(math.log((len(LEVELS) + 1) / ((at + 1) * (at + 2))) for at in range(len(LEVELS)) for _ in ODDS)
_FAILURES = 3
_HOT = 3  # standard deviations above the usual failures of a second
_STAKED = 2 / 3  # of the first e-value, in a second with unusually many failures
_SIZED = 1 / 2  # of the second one, on the number of large incidents
_SURE = 500.0  # nats, above which evidence need not grow
_SHARE = 0.25  # maximum share of stable's windows that are incidents
_LARGE, _TIMES = 0.5, 4  # maximum share of large incidents; maximum ratio of their failures to those of an incident
_FEW = 1e-6  # windows after thinning, too few for a statement
_EXACT = 300  # mean number of failures up to which the probability is summed exactly


def choose_window(longest: int) -> int | None:
    """Return the index of the shortest window that fits a burst of `longest` seconds twice; None if none does."""
    return next((at for at, seconds in enumerate(WINDOWS) if seconds >= 2 * longest - 1), None)


def is_hot(count: int, usual: float) -> bool:
    """True if `count` failures in a second are unusual at this usual rate."""
    return count > 1 + usual + _HOT * math.sqrt(usual)


def compute_bounds(usual: float, *, size: int) -> tuple[float, float]:
    """Return the caps of a replica per window of this size and per block, in failures.

    `usual`: failures per second of a replica, which are not capped as a burst is.
    """
    return 1 + math.sqrt(usual * size), _FAILURES + math.sqrt(usual * BLOCK)


def hedge(log: float, *, part: float) -> float:
    """Return the log e-value with only this part staked: the maximum loss is the factor 1 - part."""
    return math.log1p(part * math.expm1(min(log, _SURE)))


def compare_same_time(
    canary: Iterable[Sequence[int]], stable: Sequence[int], *, replicas: int, share: float, size: int, usual: float
) -> tuple[list[float], list[float]]:
    """Return by ODDS the log of a block's first e-value, and the contribution of the worst replica, at least 0.

    First failures by second: of each canary replica, and of all of stable's. `share`: the canary's share of buckets.
    Silent replicas may be omitted. `size`: seconds of a window; `usual`: failures per second expected of a canary
    replica from stable's history.
    """
    given, (a_window, a_block) = [*canary], compute_bounds(usual, size=size)
    silent = replicas - len(given)
    totals = [sum(each) for each in zip(stable, *given, strict=True)]
    hot = [is_hot(count, usual * replicas / share) for count in totals]
    found: list[float] = []
    worst: list[float] = []
    for odds in ODDS:
        per_any = math.log1p(share * (odds - 1))
        gain = math.log(odds) - per_any
        most = max(1.0, gain)
        loss = [per_any * other / replicas for other in stable]
        seconds = [_score_second(each, loss, hot, gain=gain) for each in given]
        quiet = silent * math.fsum(_score_second([0] * len(stable), loss, hot, gain=gain)) if silent else 0.0
        bounded = [
            min(
                a_block * most,
                math.fsum(min(a_window * most, math.fsum(each[at : at + size])) for at in range(0, len(each), size)),
            )
            for each in seconds
        ]
        found.append(math.fsum(bounded) + quiet)
        worst.append(max([0.0, *bounded]))
    return found, worst


def _score_second(own: Sequence[int], loss: Sequence[float], hot: Sequence[bool], *, gain: float) -> list[float]:
    """Return each second's contribution of one replica; hedged where both sides have unusually many failures."""
    plain = [count * gain - less for count, less in zip(own, loss, strict=True)]
    return [hedge(each, part=_STAKED) if high else each for each, high in zip(plain, hot, strict=True)]


def compute_chance(count: int, *, least: int, kept: float) -> float:
    """Return the probability that at least `least` of `count` failures are kept, each with probability `kept`."""
    if count < least:
        return 0.0
    if kept >= 1:
        return 1.0
    mean, total, term = count * kept, 0.0, (1 - kept) ** count
    if mean > _EXACT or term < sys.float_info.min:  # too small to sum
        return math.erfc((least - 0.5 - mean) / math.sqrt(2 * mean * (1 - kept))) / 2
    for at in range(least):
        total += term
        term *= (count - at) / (at + 1) * kept / (1 - kept)
    return max(0.0, 1 - total)


def estimate_incidents(counts: Counter[int], *, least: int, kept: float) -> float:
    """Return the expected number of incidents among windows with these counts after thinning."""
    return math.fsum(many * compute_chance(count, least=least, kept=kept) for count, many in counts.items())


def choose_thresholds(history: Counter[int], *, kept: float) -> tuple[int, int]:
    """Return the fewest failures of an incident, and of a large one.

    At most a quarter of stable's windows are incidents, and half of these large, or _TIMES as many failures.
    """
    least = _choose_threshold(history, kept=kept, most=_SHARE * history.total(), above=0)
    usual = estimate_incidents(history, least=least, kept=kept)
    return least, min(
        _TIMES * least, _choose_threshold(history, kept=kept, most=_LARGE * usual * (1 + _FEW), above=least)
    )


def _choose_threshold(history: Counter[int], *, kept: float, most: float, above: int) -> int:
    """Return the fewest failures, above `above`, that at most `most` windows have."""
    low, high = above, above + 1
    while estimate_incidents(history, least=high, kept=kept) > most:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if estimate_incidents(history, least=middle, kept=kept) > most:
            low = middle
        else:
            high = middle
    return high


def compare_frequency(hits: float, of: float, stable_hits: float, stable_of: float) -> list[float]:
    """Return by ODDS the log of the second e-value: incidents and windows of both sides.

    The alternative to one common probability has this odds ratio, canary to stable, at the same mean.
    """
    both, windows = hits + stable_hits, of + stable_of
    if both <= 0 or min(of, stable_of) < _FEW or both >= windows:
        return [0.0] * len(ODDS)
    alike = _compute_likelihood(both, both / windows) + _compute_likelihood(windows - both, 1 - both / windows)
    found = []
    for odds in ODDS:
        second, first = stable_of * (odds - 1), of * odds + stable_of - both * (odds - 1)
        stable = (-first + math.sqrt(first * first + 4 * second * both)) / (2 * second)
        canary = odds * stable / (1 + (odds - 1) * stable)
        apart = _compute_likelihood(hits, canary) + _compute_likelihood(of - hits, 1 - canary)
        found.append(
            apart
            + _compute_likelihood(stable_hits, stable)
            + _compute_likelihood(stable_of - stable_hits, 1 - stable)
            - alike
        )
    return found


def compare_sizes(hits: float, of: float, stable_hits: float, stable_of: float) -> list[float]:
    """Compare the share of large incidents, hedged: more incidents need not be larger ones."""
    return [hedge(each, part=_SIZED) for each in compare_frequency(hits, of, stable_hits, stable_of)]


def _compute_likelihood(count: float, probability: float) -> float:
    return count * math.log(probability) if count > 1e-12 and probability > 0 else 0.0  # noqa: PLR2004 - above rounding errors


def compute_thinning(
    share: float, *, canaries: int, stables: int, whole: float = 1.0, before: int = 0
) -> tuple[float, float, float]:
    """Return the kept parts of failures of the canary, its control, and stable's history, for equal traffic.

    Each kind of replica is thinned to the traffic of the least busy one; with all traffic on the canary, there is no
    control. `whole`: both sides' share of the traffic; `before`: replicas of the history, 0: `stables`.
    """
    busy = whole * share / canaries, whole * (1 - share) / stables, 1 / (before or stables)
    least = min(each for each in busy if each > 0)
    canary, control, history = (min(1.0, least / each) if each > 0 else 0.0 for each in busy)
    return canary, control, history


_TILTS = tuple(0.03 * 2**power for power in range(10))  # 0.03 … 15.4
_HALVINGS = 40


def bound_above(tally: Tally, *, alpha: float) -> float:
    """Return the upper bound of the mean rate; 1 without requests."""
    return _find_bound(tally, alpha=alpha, sign=-1)


def bound_below(tally: Tally, *, alpha: float) -> float:
    """Return the lower bound of the mean rate; 0 without requests."""
    return _find_bound(tally, alpha=alpha, sign=1)


def _find_bound(tally: Tally, *, alpha: float, sign: int) -> float:
    """Find the bound between the observed rate, never excluded, and 1 (upper, sign -1) or 0 (lower, sign 1)."""
    inside, outside = tally.rate if tally.requests else 0.5, 1.0 if sign < 0 else 0.0
    limit = math.log(1 / alpha)
    if _compute_log_e(tally, outside, sign=sign) <= limit:
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if _compute_log_e(tally, middle, sign=sign) > limit:
            outside = middle
        else:
            inside = middle
    return outside


def _compute_log_e(tally: Tally, rate: float, *, sign: int) -> float:
    tilts = (sign * tilt for tilt in _TILTS)
    return compute_log_mean(tuple(tilt * tally.bad - tally.requests * _compute_cumulant(rate, tilt) for tilt in tilts))


def _compute_cumulant(rate: float, tilt: float) -> float:
    """Return log(1 + rate(e^tilt - 1)), the log moment-generating function of one request."""
    return math.log1p(rate * math.expm1(tilt))


def bound_harm(canary: Mapping[int, Tally], stable: Mapping[int, Tally], *, alpha: float) -> float:
    """Return an upper bound of the canary's excess rate of bad requests over stable's at the same times.

    Both by step from 0 on, each with one share: stable's rates are weighted by the canary's requests, so that neither a
    drifting rate nor a rising share looks like harm, or hides it. Half of `alpha` is for each side; stable's steps get
    1/2, 1/6, 1/12, … of that half, less than all of it for any number of steps.
    """
    whole = sum(canary.values(), Tally())
    if not whole.requests:
        return 1.0
    weighted = (
        tally.requests * bound_below(stable[step], alpha=alpha / 2 / ((step + 1) * (step + 2)))
        for step, tally in canary.items()
        if tally.requests and step in stable
    )
    return bound_above(whole, alpha=alpha / 2) - math.fsum(weighted) / whole.requests
