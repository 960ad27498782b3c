"""Simulated failed requests of both sides, many trials at once: which client, when, which replica, first or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gray.simulation.rows import Bursts, Row

_WAVE = 300.0  # seconds of a wave of the base rate


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Counts by trial, second and replica: the canary's replicas come first. Seconds: the history, then the release."""

    row: Row
    first: np.ndarray
    failed: np.ndarray
    requests: np.ndarray


@dataclass(frozen=True)
class _Events:
    """One entry for each request that may fail: its trial, time, client, the client's bucket, and chance to fail."""

    trial: np.ndarray
    at: np.ndarray
    client: np.ndarray
    bucket: np.ndarray

    def __getitem__(self, mask: np.ndarray) -> _Events:
        return _Events(self.trial[mask], self.at[mask], self.client[mask], self.bucket[mask])


def draw(row: Row, trials: int, rng: np.random.Generator) -> Drawn:
    """Simulate this many trials of a row."""
    whole = row.known + row.seconds
    buckets = rng.random((trials, row.clients)) if row.clients else None
    shares = np.concatenate([np.zeros(row.known), np.repeat(row.steps, row.step)])
    on = _bursting(row, trials, rng, whole)
    found = [_base(row, trials, rng, buckets, shares)]
    if row.broken:
        found.append(_broken(row, trials, rng, buckets, shares))
    if row.bursts or row.machine:
        found.append(_burst(row, trials, rng, buckets, shares, on))
    events = tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
    return _counted(row, trials, rng, buckets, shares, on, events)


def _bursting(row: Row, trials: int, rng: np.random.Generator, whole: int) -> tuple[np.ndarray, np.ndarray]:
    """By trial, second and replica: from which part of the second until which it fails; (1, 0): not at all."""
    replicas = row.canaries + row.stables
    low, high = np.ones((trials, whole, replicas), np.float32), np.zeros((trials, whole, replicas), np.float32)

    def begin(bursts: Bursts, columns: int, into: slice) -> None:
        starts = rng.random((trials, whole, columns)) < 1 / bursts.period
        if bursts.late:
            starts[:, : row.known] = False
        offset = np.where(starts, rng.random((trials, whole, columns)), 1).astype(np.float32)
        length = int(bursts.length)
        for lag in range(length + 1):
            on = starts[:, : whole - lag]
            first = np.where(on, offset[:, : whole - lag] if lag == 0 else 0, 1)
            last = np.where(on, offset[:, : whole - lag] if lag == length else 1, 0)
            low[:, lag:, into] = np.minimum(low[:, lag:, into], first)
            high[:, lag:, into] = np.maximum(high[:, lag:, into], last)

    if row.bursts is not None:
        begin(row.bursts, 1 if row.bursts.common else replicas, slice(None))
    if row.machine is not None:
        begin(row.machine, 1, slice(0, 1))
    return low, high


def _who(row: Row, rng: np.random.Generator, buckets: np.ndarray | None, trial: np.ndarray, below: float = 1.0):
    """Clients of as many requests: a number, and a bucket. `below`: only from this first part of all clients."""
    if buckets is None:
        return rng.integers(1 << 40, 1 << 62, len(trial)), rng.random(len(trial))
    client = rng.integers(0, max(1, round(below * row.clients)), len(trial))
    return client, buckets[trial, client]


def _spread(trials: int, rng: np.random.Generator, mean: float) -> np.ndarray:
    return np.repeat(np.arange(trials), rng.poisson(mean, trials))


def _replica(row: Row, rng: np.random.Generator, canary: np.ndarray) -> np.ndarray:
    pick = rng.random(len(canary))
    return np.where(canary, (pick * row.canaries).astype(int), row.canaries + (pick * row.stables).astype(int))


def _base(row: Row, trials: int, rng: np.random.Generator, buckets, shares):
    """Requests that fail by themselves."""
    bad = row.base if row.bad is None else row.bad
    lift = max(1.0, row.rise) * (1 + row.drift) * max(1.0, row.uneven)
    most = max(row.base * lift, bad * lift, row.bad_stable, row.aged or 0.0, (row.start or (0.0, 0.0))[1])
    trial = _spread(trials, rng, most * row.rate * len(shares))
    at = rng.random(len(trial)) * len(shares)
    client, bucket = _who(row, rng, buckets, trial)
    canary = bucket < shares[at.astype(int)]
    replica = _replica(row, rng, canary)
    chance = np.where(canary, bad, row.base)
    if row.aged is not None:
        chance = np.where(canary | (row.fresh & (at >= row.known)), chance, row.aged)
    if row.start is not None:
        cold = (at >= row.known) & (at < row.known + row.start[0]) & (canary | row.fresh)
        chance = np.where(cold, row.start[1], chance)
    chance = np.where(at >= row.known, chance * row.rise, chance)
    chance = chance * (1 + row.drift * np.sin(2 * np.pi * at / _WAVE))
    chance = np.where((replica == 0) | (replica == row.canaries), chance * row.uneven, chance)
    if row.bad_stable:
        chance = np.where(replica == row.canaries, row.bad_stable, chance)
    keep = (rng.random(len(trial)) * most < chance) & _compared(row, bucket, shares, at)
    out = [each[keep] for each in (trial, at, client, bucket, replica)]
    if row.retries > 1:
        count = len(out[0])
        out = [np.repeat(each, row.retries) for each in out]
        out[1] = np.minimum(out[1] + 0.4 * np.tile(np.arange(row.retries), count), len(shares) - 0.001)
        canary = out[3] < shares[out[1].astype(int)]
        out[4] = _replica(row, rng, canary)
    return out


def _compared(row: Row, bucket: np.ndarray, shares: np.ndarray, at: np.ndarray) -> np.ndarray:
    """True if a request is compared: with a baseline, those of stable are not."""
    if not row.fresh:
        return np.ones(len(at), bool)
    share = shares[np.minimum(at.astype(int), len(shares) - 1)]
    return (at < row.known) | (bucket < share) | (bucket >= 1 - share)


def _broken(row: Row, trials: int, rng: np.random.Generator, buckets, shares):
    trial = _spread(trials, rng, row.rate * row.broken * row.breaks * len(shares))
    at = rng.random(len(trial)) * len(shares)
    client, bucket = _who(row, rng, buckets, trial, below=row.broken)
    out = [trial, at, client, bucket, _replica(row, rng, bucket < shares[at.astype(int)])]
    keep = _compared(row, bucket, shares, at)
    return [each[keep] for each in out]


def _burst(row: Row, trials: int, rng: np.random.Generator, buckets, shares, on):
    """All requests of the seconds in which some replica is in a burst; those that hit it, fail."""
    low, high = on
    bursts = row.bursts or row.machine
    where = np.argwhere((high > low).any(axis=2))
    count = rng.poisson(row.rate, len(where))
    trial, second = np.repeat(where[:, 0], count), np.repeat(where[:, 1], count)
    client, bucket = _who(row, rng, buckets, trial)
    replica = _replica(row, rng, bucket < shares[second])
    part = rng.random(len(trial))
    keep = (low[trial, second, replica] <= part) & (part < high[trial, second, replica])
    keep &= (rng.random(len(trial)) < bursts.share) & _compared(row, bucket, shares, second + part)
    return [each[keep] for each in (trial, second + part, client, bucket, replica)]


def _counted(row: Row, trials: int, rng: np.random.Generator, buckets, shares, on, events) -> Drawn:
    trial, at, client, _, replica = events
    whole, replicas = len(shares), row.canaries + row.stables
    order = np.argsort(at, kind="stable")
    trial, at, client, replica = trial[order], at[order], client[order], replica[order]
    second = np.minimum(at.astype(int), whole - 1)
    if row.clients:
        generation = (at >= row.known).astype(np.int64)
        key = (trial * (row.clients + 1) + client) * 2 + generation
    else:
        key = client ^ (trial << 1)
    _, first = np.unique(key, return_index=True)
    cell = (trial * whole + second) * replicas + replica
    shape = (trials, whole, replicas)
    failed = np.bincount(cell, minlength=trials * whole * replicas).reshape(shape)
    once = np.bincount(cell[first], minlength=trials * whole * replicas).reshape(shape)
    return Drawn(row=row, first=once, failed=failed, requests=_requests(row, trials, rng, buckets, shares, on, failed))


def _requests(row: Row, trials: int, rng: np.random.Generator, buckets, shares, on, failed) -> np.ndarray:
    other = np.where(np.arange(len(shares)) < row.known, 1, np.minimum(shares, 1 - shares)) if row.fresh else 1 - shares
    mine, other = np.tile(shares, (trials, 1)), np.tile(other, (trials, 1))
    if buckets is not None:
        parts = [(buckets < share, (buckets >= max(share, 1 - share if row.fresh else 0))) for share in row.steps]
        mine, other = (
            np.concatenate(
                [
                    np.full((trials, row.known), before),
                    np.repeat(np.stack([part[at].mean(axis=1) for part in parts], axis=1), row.step, axis=1),
                ],
                axis=1,
            )
            for at, before in ((0, 0.0), (1, 1.0))
        )
    mean = np.concatenate(
        [
            np.repeat((row.rate * mine / row.canaries)[:, :, None], row.canaries, axis=2),
            np.repeat((row.rate * other / row.stables)[:, :, None], row.stables, axis=2),
        ],
        axis=2,
    )
    requests = np.maximum(rng.poisson(mean), failed)
    if row.bad is not None and row.bad >= 1:
        requests[:, row.known :, : row.canaries] = failed[:, row.known :, : row.canaries]
    bursts = row.bursts or row.machine
    if bursts is None or bursts.share < 1:
        return requests
    low, high = on
    return np.where((high - low >= 1) & (failed > 0), failed, requests)
