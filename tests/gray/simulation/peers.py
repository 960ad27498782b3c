"""Other judges of errors, for comparison: devbox's former judge, Kayenta's Mann-Whitney test, a simple threshold."""

from __future__ import annotations

import numpy as np
from gray.simulation.failures import Drawn
from gray.simulation.twin import ODDS, log_mean

_SAMPLE = 5  # seconds of one sample of Mann-Whitney
_SURE = 2.326  # normal quantile of 99 %: Kayenta's interval of 98 %
_TOLERANCE = 0.25  # of stable's mean, that Kayenta allows
_CHECK, _MOST, _STRIKES = 10, 0.02, 3  # seconds of a check, share of errors, failed checks


def sides(drawn: Drawn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Failed and all requests of the canary, then of stable, by trial and second of the release."""
    row = drawn.row
    failed, requests = drawn.failed[:, row.known :], drawn.requests[:, row.known :]
    at = row.canaries
    return (
        failed[:, :, :at].sum(axis=2),
        requests[:, :, :at].sum(axis=2),
        failed[:, :, at:].sum(axis=2),
        requests[:, :, at:].sum(axis=2),
    )


def before(drawn: Drawn, alpha: float = 0.01) -> np.ndarray:
    """The judge of ADR 39, by second: every failed request is evidence."""
    bad, mine, other_bad, other = sides(drawn)
    share = mine / np.maximum(1, mine + other)
    both = np.where((mine > 0) & (other > 0), bad + other_bad, 0)
    bad = np.where((mine > 0) & (other > 0), bad, 0)
    each = bad[..., None] * np.log(ODDS) - both[..., None] * np.log1p(share[..., None] * (ODDS - 1))
    return log_mean(each.cumsum(axis=1)) > np.log(1 / alpha)


def mann_whitney(drawn: Drawn) -> np.ndarray:
    """Shares of errors of samples of 5 s, the canary's against stable's and 25 %, at the end of each step."""
    row = drawn.row
    bad, mine, other_bad, other = (
        each.reshape(len(each), -1, _SAMPLE).sum(axis=2).reshape(len(each), len(row.steps), -1) for each in sides(drawn)
    )
    canary, stable = bad / np.maximum(1, mine), other_bad / np.maximum(1, other)
    stable = stable + _TOLERANCE * stable.mean(axis=2, keepdims=True)
    found = np.zeros((len(canary), row.seconds), bool)
    found[:, row.step - 1 :: row.step] = worse(canary, stable)
    return found


def worse(canary: np.ndarray, stable: np.ndarray) -> np.ndarray:
    """Mann-Whitney along the last axis, one-sided, by its normal approximation with ties."""
    n, m = canary.shape[-1], stable.shape[-1]
    more = (canary[..., :, None] > stable[..., None, :]).sum(axis=(-1, -2))
    same = (canary[..., :, None] == stable[..., None, :]).sum(axis=(-1, -2))
    both = np.concatenate([canary, stable], axis=-1)
    ties = (both[..., :, None] == both[..., None, :]).sum(axis=(-1, -2)) - (n + m)  # ordered pairs
    spread = np.sqrt(n * m * (n + m + 1) / 12 * (1 - ties * (n + m) / ((n + m) ** 3)))
    return (more + same / 2 - n * m / 2) > _SURE * np.maximum(spread, 1e-9)


def strikes(drawn: Drawn) -> np.ndarray:
    """Checks of 10 s whose share of errors is above 2 %; the third one aborts."""
    bad, mine, _, _ = sides(drawn)
    share = bad.reshape(len(bad), -1, _CHECK).sum(axis=2) / np.maximum(
        1, mine.reshape(len(bad), -1, _CHECK).sum(axis=2)
    )
    over = (share > _MOST).cumsum(axis=1) >= _STRIKES
    found = np.zeros(bad.shape, bool)
    found[:, _CHECK - 1 :: _CHECK] = over
    return found
