"""Two e-values for failures that depend on each other: in a client (retries), and in a replica (pauses, bursts).

The first compares both sides in the same seconds. If the sides are equal, the first failure of a client is the canary's
with probability w, the share of buckets. A burst of one replica is bounded: it is worth a few failures at most.
The second counts incidents, replicas' windows with many first failures, and compares how often they happen with how
often they happened to stable, before the release as well; all at the traffic of the least busy kind of replica.
Each is wrong where the other is right, so both have to be large: see docs/explanation/gray.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from devbox.gray.evidence import ODDS

WINDOWS = (2, 5, 10, 20)  # seconds; the shortest that stable's own bursts fit into
BLOCK = 20  # seconds in which one replica's failures count as three at most
# Failures that make an incident next to a baseline, about whose rate nothing is known before. Each of these is judged;
# small ones, which are for little traffic, weigh more: 1/2, 1/6, 1/12, … of the mean, as logarithms for each of ODDS.
LEVELS = tuple(2**power for power in range(11))
WEIGHTS = tuple(math.log((len(LEVELS) + 1) / ((at + 1) * (at + 2))) for at in range(len(LEVELS)) for _ in ODDS)
_FAILURES = 3
_SHARE = 0.25  # of stable's windows that are incidents, at most
_EXACT = 300  # failures on average, up to which a chance is summed up term by term


def window(longest: int) -> int | None:
    """Which of WINDOWS fits a burst that touches so many seconds, twice over; None where none does."""
    return next((at for at, seconds in enumerate(WINDOWS) if seconds >= 2 * longest - 1), None)


def same_time(
    canary: Iterable[Sequence[int]], stable: Sequence[int], *, replicas: int, share: float
) -> tuple[list[float], list[float]]:
    """By ODDS, the logarithm of the first e-value of one block, and what the worst replica adds to it, 0 at least.

    First failures by window: of each canary replica, and of all of stable's. `share`: of the buckets that are the
    canary's. Silent replicas need not be given.
    """
    given = [*canary]
    silent = replicas - len(given)
    found: list[float] = []
    worst: list[float] = []
    for odds in ODDS:
        per_any = math.log1p(share * (odds - 1))
        gain = math.log(odds) - per_any
        most = max(1.0, gain)
        loss = [per_any * other / replicas for other in stable]
        sums = (
            math.fsum(min(most, mine * gain - less) for mine, less in zip(each, loss, strict=True)) for each in given
        )
        bounded = [min(_FAILURES * most, each) for each in sums]
        found.append(math.fsum(bounded) - silent * math.fsum(loss))
        worst.append(max([0.0, *bounded]))
    return found, worst


def chance(count: int, *, least: int, kept: float) -> float:
    """That at least `least` of `count` failures are left where each is kept with this probability."""
    if count < least:
        return 0.0
    if kept >= 1:
        return 1.0
    mean, total = count * kept, 0.0
    if mean > _EXACT:
        return math.erfc((least - 0.5 - mean) / math.sqrt(2 * mean * (1 - kept))) / 2
    term = (1 - kept) ** count
    for at in range(least):
        total += term
        term *= (count - at) / (at + 1) * kept / (1 - kept)
    return max(0.0, 1 - total)


def expected(counts: Counter[int], *, least: int, kept: float) -> float:
    """How many of the windows with these counts of failures would be incidents, thinned."""
    return math.fsum(many * chance(count, least=least, kept=kept) for count, many in counts.items())


def threshold(history: Counter[int], *, kept: float) -> int:
    """The fewest failures that make an incident: at most a quarter of stable's windows are any."""
    most = _SHARE * history.total()
    low, high = 0, 1
    while expected(history, least=high, kept=kept) > most:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if expected(history, least=middle, kept=kept) > most:
            low = middle
        else:
            high = middle
    return high


def more_often(hits: float, of: float, stable_hits: float, stable_of: float) -> list[float]:
    """By ODDS, the logarithm of the second e-value: of how many windows how many are incidents, of both sides.

    Against one probability for all, the odds of the canary's are so many times those of stable's, with the same mean.
    """
    both, windows = hits + stable_hits, of + stable_of
    if both <= 0 or not of or not stable_of or both >= windows:
        return [0.0] * len(ODDS)
    alike = _part(both, both / windows) + _part(windows - both, 1 - both / windows)
    found = []
    for odds in ODDS:
        second, first = stable_of * (odds - 1), of * odds + stable_of - both * (odds - 1)
        stable = (-first + math.sqrt(first * first + 4 * second * both)) / (2 * second)
        canary = odds * stable / (1 + (odds - 1) * stable)
        apart = _part(hits, canary) + _part(of - hits, 1 - canary)
        found.append(apart + _part(stable_hits, stable) + _part(stable_of - stable_hits, 1 - stable) - alike)
    return found


def _part(count: float, probability: float) -> float:
    return count * math.log(probability) if count > 1e-12 and probability > 0 else 0.0  # noqa: PLR2004 - not rounding


def kept(
    share: float, *, canaries: int, stables: int, whole: float = 1.0, before: int = 0
) -> tuple[float, float, float]:
    """The parts of failures kept of the canary, of its control, and of stable's history, for equal traffic.

    Each kind of replica is thinned to the traffic of the least busy one. With all traffic at the canary there is no
    control. `whole`: the part of all traffic that both have; `before`: replicas of the history, 0: `stables`.
    """
    busy = whole * share / canaries, whole * (1 - share) / stables, 1 / (before or stables)
    least = min(each for each in busy if each > 0)
    canary, control, history = (min(1.0, least / each) if each > 0 else 0.0 for each in busy)
    return canary, control, history
