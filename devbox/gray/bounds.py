"""How high or low a rate can be, valid at every look, and how much worse a canary can be than stable.

For a fixed λ, exp(λS - Σ log(1 + pᵢ(e^λ - 1))) over requests that are bad with probability pᵢ is a martingale, S being
the bad ones so far. By concavity of the logarithm it is at least exp(λS - n·log(1 + p(e^λ - 1))) with the mean p of the
pᵢ. So the p for which the average of these over a few λ exceeds 1/α are excluded, at all looks together with error α:
a confidence sequence of the running mean, which may drift (Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics
49:2, 2021, "sub-Bernoulli").
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from devbox.gray.evidence import Tally, log_mean

_TILTS = tuple(0.03 * 2**power for power in range(10))  # 0.03 … 15.4
_HALVINGS = 40


def upper(tally: Tally, *, alpha: float) -> float:
    """The mean rate is at most this; 1 without requests."""
    return _edge(tally, alpha=alpha, sign=-1)


def lower(tally: Tally, *, alpha: float) -> float:
    """The mean rate is at least this; 0 without requests."""
    return _edge(tally, alpha=alpha, sign=1)


def _edge(tally: Tally, *, alpha: float, sign: int) -> float:
    """Between the observed rate, which is never excluded, and 1 (upper, sign -1) or 0 (lower, sign 1)."""
    inside, outside = tally.rate if tally.requests else 0.5, 1.0 if sign < 0 else 0.0
    limit = math.log(1 / alpha)
    if _log_e(tally, outside, sign=sign) <= limit:
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if _log_e(tally, middle, sign=sign) > limit:
            outside = middle
        else:
            inside = middle
    return outside


def _log_e(tally: Tally, rate: float, *, sign: int) -> float:
    tilts = (sign * tilt for tilt in _TILTS)
    return log_mean(tuple(tilt * tally.bad - tally.requests * _grown(rate, tilt) for tilt in tilts))


def _grown(rate: float, tilt: float) -> float:
    """log(1 + rate(e^tilt - 1)), the logarithm of the moment-generating function of one request."""
    return math.log1p(rate * math.expm1(tilt))


def harm(canary: Mapping[int, Tally], stable: Mapping[int, Tally], *, alpha: float) -> float:
    """At most so much is the canary's mean rate of bad requests above what stable's was for the same share of time.

    Both by step, from 0 on, each step with one share: stable's rates are weighted by the canary's requests, so that
    neither a drifting rate nor a rising share looks like harm, or hides it. Half of `alpha` is for the canary, half for
    stable: 1/2, 1/6, 1/12, … of that half for its steps, less than all of it however many steps follow.
    """
    whole = sum(canary.values(), Tally())
    if not whole.requests:
        return 1.0
    weighted = (
        tally.requests * lower(stable[step], alpha=alpha / 2 / ((step + 1) * (step + 2)))
        for step, tally in canary.items()
        if tally.requests and step in stable
    )
    return upper(whole, alpha=alpha / 2) - math.fsum(weighted) / whole.requests
