"""The product's judge of response times, vectorized over trials and observations, and other judges on the same data."""

from __future__ import annotations

import operator
from types import SimpleNamespace

import numpy as np
from gray.simulation import peers, twin
from gray.simulation.delays import STEPS, Timed
from gray.simulation.twin import ODDS, WINDOWS, log_mean

from devbox.gray import latency
from devbox.gray.judge import REST
from devbox.gray.latency import NO_EVIDENCE, PAIR

ALPHA = 0.005  # of latency, where errors have as much
_SAMPLE, _CHECK, _STRIKES = 5, 10, 3


def general(timed: Timed) -> np.ndarray:
    """By second, the logarithm of the e-value of blocks of two seconds, by the product's own code."""
    trials, seconds, _ = timed.counts.shape
    requests = _pairs(timed.counts[..., None])
    blocks = np.concatenate([requests, _pairs(timed.above)], axis=-1).tolist()
    found = np.zeros((trials, seconds))
    for trial in range(trials):
        logs = NO_EVIDENCE
        for at, (mine, other) in enumerate(blocks[trial]):
            logs = tuple(map(operator.add, logs, latency.compare(mine, other, timed.limits[trial])))
            found[trial, PAIR * at + 1 : PAIR * at + 3] = latency.compute_log(logs)
    return found


def _pairs(counts: np.ndarray) -> np.ndarray:
    """Sums of two seconds, of the canary and of its control; counts by trial, second, replica, and more."""
    trials, seconds, replicas = counts.shape[:3]
    return counts.reshape(trials, seconds // PAIR, PAIR, replicas // 2, replicas // 2, -1).sum(axis=(2, 4))


def tail(timed: Timed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By second, the logarithms of both e-values of slow requests, and whether they may abort."""
    of = timed.row
    row = SimpleNamespace(steps=STEPS, step=of.step, canaries=2, stables=2, place=of.place, fresh=of.fresh)
    window = twin.windows(timed.history, timed.raw, row)
    often = twin.usual(timed.history)
    one, rest, two = twin.in_use(
        window,
        lambda size: (*twin.e1(timed.slow, row, size, often), twin.second(timed.raw, timed.history, row, size)),
    )
    return one, two, (window < len(WINDOWS)) & (rest > REST)


def judge(timed: Timed) -> np.ndarray:
    """By second, whether the product aborts."""
    limit = np.log(2 / ALPHA)
    one, two, fits = tail(timed)
    return (general(timed) > limit) | ((one > limit) & (two > limit) & fits)


def before(timed: Timed) -> np.ndarray:
    """The judge of ADR 39: every request slower than stable's 99 % is evidence, those of cold processes too."""
    bad, other_bad = timed.all_slow[:, :, :2].sum(axis=2), timed.all_slow[:, :, 2:].sum(axis=2)
    mine, other = timed.all[:, :, :2].sum(axis=2), timed.all[:, :, 2:].sum(axis=2)
    share = mine / np.maximum(1, mine + other)
    both = np.where(mine > 0, bad + other_bad, 0)
    each = bad[..., None] * np.log(ODDS) - both[..., None] * np.log1p(share[..., None] * (ODDS - 1))
    return log_mean(each.cumsum(axis=1)) > np.log(1 / ALPHA)


def _shares(timed: Timed, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares slower than stable's 99 % in samples of this duration, of both sides."""

    def summed(counts: np.ndarray) -> np.ndarray:
        return counts.sum(axis=2).reshape(len(counts), -1, length).sum(axis=2)

    mine, other = (slice(0, 2), slice(2, 4))
    return tuple(  # type: ignore[return-value]
        summed(timed.all_slow[:, :, side]) / np.maximum(1, summed(timed.all[:, :, side])) for side in (mine, other)
    )


def mann_whitney(timed: Timed) -> np.ndarray:
    """Samples of 5 s of the share of slow requests, at the end of each step, as in Kayenta."""
    row = timed.row
    canary, stable = (each.reshape(len(each), len(STEPS), -1) for each in _shares(timed, _SAMPLE))
    found = np.zeros((len(canary), row.seconds), bool)
    found[:, row.step - 1 :: row.step] = peers.worse(canary, 1.25 * stable)
    return found


def strikes(timed: Timed) -> np.ndarray:
    """Checks of 10 s in which more than 2 % are slower than stable's 99 %; the third one aborts."""
    canary, _ = _shares(timed, _CHECK)
    found = np.zeros((len(canary), timed.row.seconds), bool)
    found[:, _CHECK - 1 :: _CHECK] = (canary > 2 * 0.01).cumsum(axis=1) >= _STRIKES
    return found
