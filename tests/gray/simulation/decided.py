"""The complete decision logic on simulated data: `decide` at every second, with full or reduced router counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from devbox.gray.decide import GrayObservation, compute_traffic, decide
from devbox.gray.policy import WHOLE, Policy, WatchedMetric
from devbox.gray.state import BAKE, STEP, GrayState
from devbox.model.traffic import BASELINE, CANARY, STABLE, TIMES, Batch, Second, Side

BEGAN = 1_795_000_000
ERRORS = WatchedMetric(name="errors", alpha=0.01)
LATENCY = WatchedMetric(name="latency", alpha=0.005)
Draw = Callable[[random.Random], float]  # a response time in µs


def policy(share: float, *watches: WatchedMetric, **more: object) -> Policy:
    """One step that does not end."""
    settings = {"min_time": 1e6, "min_requests": 1, "timeout": 1e9, "bake": 1e6, "margin": 0.02, **more}
    return Policy(steps=(round(share * WHOLE),), watches=watches, **settings)


def decided(
    past: list[Second], release: Iterator[list[Second]], rules: Policy, *, by_second: bool = True, baking: bool = False
) -> GrayState:
    """The outcome of a release; `by_second` False: as with a router that counts both sides only."""
    rollout = GrayState.begin(rules)
    rollout = _looked(rollout, past, rules, BEGAN - 1, by_second=by_second)
    assert rollout.phase == STEP, rollout.reason
    if baking:
        rollout = rollout.enter(BAKE, "promoted")
    for at, seconds in enumerate(release):
        rollout = _looked(rollout, seconds, rules, BEGAN + at + 1, by_second=by_second)
        if rollout.phase not in (STEP, BAKE):
            break
    return rollout


def _looked(rollout: GrayState, seconds: list[Second], rules: Policy, now: int, *, by_second: bool) -> GrayState:
    sides = {CANARY: Side(), STABLE: Side(), BASELINE: Side()}
    for each in seconds:
        sides[each.side] += Side(requests=each.requests, errors=each.failed, times=each.times)
    batch = Batch(
        canary=sides[CANARY],
        stable=sides[STABLE],
        baseline=sides[BASELINE] if rules.has_baseline else None,
        seconds=tuple(seconds) if by_second else (),
    )
    replicas = {side: len({each.replica for each in seconds if each.side == side}) or 1 for side in sides}
    look = GrayObservation(
        now=now + 0.5,
        batch=batch,
        threshold=compute_traffic(rollout, rules).threshold,
        canary_healthy=True,
        stable_healthy=True,
        canary_replicas=2,
        stable_replicas=replicas[STABLE] if replicas[STABLE] > 1 else 2,
        baseline_replicas=2,
        baseline_healthy=True,
    )
    return decide(rollout, look, rules)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Requests per second with response times; a share goes to two canary replicas."""

    stable: Draw
    canary: Draw
    share: float = 0.5
    rate: int = 100
    cold: int = 0  # slow first requests of each canary process
    seed: int = 1

    def seconds(self, count: int, *, first: int, share: float | None = None) -> Iterator[list[Second]]:
        """By second, from `first` on."""
        rng = random.Random(self.seed * 7919 + first)
        part = self.share if share is None else share
        served = [0, 0]
        for at in range(first, first + count):
            times = [[0] * (len(TIMES) + 1) for _ in range(4)]
            for _ in range(self.rate):
                canary = rng.random() < part
                replica = rng.randrange(2) + (0 if canary else 2)
                took = (self.canary if canary else self.stable)(rng)
                if canary:
                    took += 500_000 if served[replica] < self.cold else 0
                    served[replica] += 1
                times[replica][_class(took)] += 1
            yield [_second(at, replica, counts) for replica, counts in enumerate(times) if sum(counts)]


def _second(at: int, replica: int, times: list[int]) -> Second:
    side = CANARY if replica < 2 else STABLE
    return Second(at=at, replica=f"r{replica}", side=side, requests=sum(times), times=tuple(times))


def _class(took: float) -> int:
    return next((at for at, limit in enumerate(TIMES) if took <= limit), len(TIMES))


def timed(
    timing: Timing, rules: Policy, *, known: int = 60, seconds: int = 180, baking: bool = False, **how
) -> GrayState:
    """A release with these response times."""
    past = [each for row in timing.seconds(60, first=BEGAN - 60, share=0.0) for each in row]
    share = 1.0 if baking else None
    return decided(past, timing.seconds(seconds, first=BEGAN, share=share), rules, baking=baking, **how)


def slower(draw: Draw, factor: float) -> Draw:
    """Multiply the response times by this factor."""
    return lambda rng: factor * draw(rng)


def lognormal(sigma: float) -> Draw:
    """Around 10 ms."""
    return lambda rng: rng.lognormvariate(9.2, sigma)


def pareto(shape: float) -> Draw:
    """From 10 ms."""
    return lambda rng: 10_000 * rng.paretovariate(shape)


__all__ = ["ERRORS", "LATENCY", "Timing", "decided", "lognormal", "pareto", "policy", "replace", "slower", "timed"]
