"""A whole gray release without waiting: simulated traffic, real decisions."""

from __future__ import annotations

import random
from dataclasses import replace

from gray.simulated import drawn

from devbox.gray.decide import GrayObservation, compute_traffic, decide
from devbox.gray.policy import Policy, WatchedMetric
from devbox.gray.release import GrayRelease
from devbox.gray.state import HOLD, GrayState
from devbox.model.release import Release, ReleaseConfig
from devbox.model.stage import Deployment, Stage
from devbox.model.traffic import TIMES, Batch, Second, Side

POLICY = Policy(
    steps=(100, 500, 2500, 5000),
    min_time=120,
    min_requests=500,
    timeout=7200,
    bake=300,
    margin=0.02,
    watches=(WatchedMetric(name="errors", alpha=0.005), WatchedMetric(name="latency", alpha=0.005)),
)
DEPLOYMENT = Deployment(
    release=Release(
        id="sha256:3f2a91c0" + "0" * 56,
        image="sha256:77aa" + "0" * 60,
        config=ReleaseConfig(processes={}),
        source="git:1f2e3d4c",
        created_at="2026-11-27T12:00:00Z",
    ),
    stage=Stage(name="production", order=3),
)
BEGAN = 1_795_000_000.0


def play(
    *,
    base: float,
    bad: float,
    slow: float = 0.01,
    rate: int = 400,
    seed: int = 1,
    policy: Policy = POLICY,
    by_second: bool = False,
    fresh: float = 0.0,
) -> GrayRelease:
    """Play it to its end, promoted when it holds: rates of errors and of slow requests, requests a second.

    `by_second`: as a router that counts by second and replica sees it, with two minutes of history. `fresh`: the rate
    of errors of a baseline, where the policy has one.
    """
    rng, now = random.Random(1), BEGAN
    trial = GrayRelease(
        stage="gray", deployment=DEPLOYMENT, policy=policy, rollout=GrayState.begin(policy), side="green", began=now
    )
    while not trial.is_over:
        now += 1
        share = compute_traffic(trial.rollout, policy).threshold
        mine = drawn(rng, rate, share / 10_000)
        batch = Batch(canary=_side(rng, mine, bad, slow), stable=_side(rng, rate - mine, base, 0.01))
        if policy.has_baseline:
            batch = replace(batch, baseline=_side(rng, min(mine, rate - mine), fresh, 0.01))
        if by_second:
            past = range(120) if now == BEGAN + 1 else ()
            seconds = [
                each for at in past for each in _seconds(Batch(canary=Side(), stable=batch.stable), now - 121 + at)
            ]
            batch = replace(batch, seconds=(*seconds, *_seconds(batch, now - 1)))
        look = GrayObservation(now=now, batch=batch, threshold=share, canary_healthy=True, stable_healthy=True)
        look = replace(look, baseline_healthy=policy.has_baseline, baseline_replicas=int(policy.has_baseline))
        if trial.rollout.phase == HOLD:
            look = replace(look, asked="complete", by="the promotion")
        after = decide(trial.rollout, look, policy)
        trial = trial.add_observation(after, batch, now=now, threshold=compute_traffic(after, policy).threshold)
    return trial


def _seconds(batch: Batch, at: float) -> list[Second]:
    return [
        Second(
            at=int(at),
            replica=f"web.{side}",
            side=side,
            requests=counts.requests,
            failed=counts.errors,
            first_failed=counts.errors,
            times=counts.times,
        )
        for side, counts in (("canary", batch.canary), ("stable", batch.stable), ("baseline", batch.baseline))
        if counts is not None and counts.requests
    ]


def _side(rng: random.Random, requests: int, errors: float, slow: float) -> Side:
    times = [0] * (len(TIMES) + 1)
    late = drawn(rng, requests, slow)
    for _ in range(requests - late):
        times[TIMES.index(10_000) + rng.randrange(8)] += 1
    times[TIMES.index(125_000) + rng.randrange(3)] += late
    return Side(requests=requests, errors=drawn(rng, requests, errors), times=tuple(times))
