"""The product's judge of response times, of many trials and all looks at once, and other judges on the same data."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
from gray.simulation import peers, twin
from gray.simulation.delays import STEPS, Timed
from gray.simulation.twin import ODDS, WINDOWS, log_mean

from devbox.gray.judge import REST
from devbox.gray.latency import TOLERANCE
from devbox.model.traffic import TIMES

ALPHA = 0.005  # of latency, where errors have as much
_STRENGTHS = np.array([0.3, 0.6, 1.2, 2.4])
_MOST = 3.0
_SAMPLE, _CHECK, _STRIKES = 5, 10, 3
_WIDTHS = np.log(np.array([1.25, *(b / a for a, b in itertools.pairwise(TIMES)), 2.0]))


def general(timed: Timed) -> np.ndarray:
    """By second, the logarithm of the e-value of blocks of two seconds."""
    trials, seconds, _ = timed.counts.shape
    both = timed.counts.reshape(trials, seconds // 2, 2, 4).sum(axis=2)
    above = timed.above.reshape(trials, seconds // 2, 2, 4, -1).sum(axis=2)
    mine, other = both[:, :, :2].sum(axis=2)[..., None], both[:, :, 2:].sum(axis=2)[..., None]
    slow, other_slow = above[:, :, :2].sum(axis=2), above[:, :, 2:].sum(axis=2)
    at = timed.limits[:, :-1]
    below = np.take_along_axis(timed.hist, at, 1) / timed.hist.sum(axis=1, keepdims=True)
    tolerated = (below * np.log1p(TOLERANCE) / _WIDTHS[at])[:, None]
    known = (mine > 0) & (other > 0)
    mine, other = np.maximum(1, mine), np.maximum(1, other)
    share = (slow + other_slow) / (mine + other)
    spread = np.sqrt(share * (1 - share) * (1 / mine + 1 / other))
    z = (slow / mine - other_slow / other - tolerated) / np.where(spread > 0, spread, 1)
    z = np.where(known & (spread > 0), np.clip(z, -_MOST, _MOST), 0)[..., None] * _STRENGTHS
    logs = log_mean((z - np.log(np.cosh(z))).reshape(trials, seconds // 2, -1).cumsum(axis=1))
    found = np.zeros((trials, seconds))
    found[:, 1::2] = logs
    found[:, 2::2] = logs[:, :-1]
    return found


def tail(timed: Timed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By second, the logarithms of both e-values of slow requests, and whether they may abort."""
    row = SimpleNamespace(steps=STEPS, step=timed.row.step, canaries=2, stables=2)
    window = twin.windows(timed.history, timed.raw[:, :, 2:])
    at = np.minimum(window, len(WINDOWS) - 1)[None]
    one, rest = (np.stack(each) for each in zip(*(twin.e1(timed.slow, row, each) for each in WINDOWS), strict=True))
    two = np.stack([twin.e2(timed.raw, timed.history, row, each) for each in WINDOWS])
    one, two, rest = (np.take_along_axis(each, at, 0)[0] for each in (one, two, rest))
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
    """Shares slower than stable's 99 % in samples of so many seconds, of both sides."""

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
