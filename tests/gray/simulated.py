"""Rollouts without a router: requests fail at random and are judged after every batch, as a controller does."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from devbox.gray.e_values import Evidence, Tally

RAMP = ((0.01, 2000), (0.05, 5000), (0.20, 7000), (0.50, 8000))  # share of the canary, for so many requests in all
BATCH = 100
Ramp = tuple[tuple[float, int], ...]
Rate = Callable[[int], float]  # of requests that fail, after so many requests


def drawn(rng: random.Random, requests: int, rate: float) -> int:
    """The number of failed requests."""
    if rate <= 0 or not requests:
        return 0
    if rate >= 1:
        return requests
    found, at, scale = 0, 0, math.log1p(-rate)
    while True:
        at += int(math.log(1.0 - rng.random()) / scale) + 1  # how far it is to the next one that does
        if at > requests:
            return found
        found += 1


def detected_after(
    rng: random.Random, *, stable: Rate, canary: Rate, alpha: float = 0.01, ramp: Ramp = RAMP
) -> int | None:
    """The requests of both sides until the evidence is enough; None where it never is."""
    evidence, total = Evidence(), 0
    for share, requests in ramp:
        for _ in range(requests // BATCH):
            mine = drawn(rng, BATCH, share)
            other = BATCH - mine
            evidence = evidence.add_batch(
                canary=Tally(requests=mine, bad=drawn(rng, mine, canary(total))),
                stable=Tally(requests=other, bad=drawn(rng, other, stable(total))),
            )
            total += BATCH
            if evidence.is_conclusive(alpha):
                return total
    return None


def drifting(total: int) -> float:
    """A base rate between 0.1 % and 1.9 %, that goes up and down several times in a rollout."""
    return 0.01 * (1 + 0.9 * math.sin(total / 1500))
