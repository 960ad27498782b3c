"""The product's judge of errors, vectorized over trials and observations. A unit test compares it with the product."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gray.simulation.failures import Drawn

from devbox.gray import e_values
from devbox.gray.e_values import LEVELS, WEIGHTS

ODDS = 2.0 ** np.arange(1, 8)
WINDOWS = (2, 5, 10, 20)
BLOCK = 20
ALPHA = 0.01


@dataclass(frozen=True, kw_only=True)
class Judged:
    """By trial and second of the release: `windows.Values`, the window in use, and whether everything failed."""

    first: np.ndarray
    rest: np.ndarray
    second: np.ndarray
    window: np.ndarray
    fast: np.ndarray


def judge(drawn: Drawn) -> Judged:
    row = drawn.row
    history = drawn.first[:, : row.known, row.canaries :]
    release = drawn.first[:, row.known :]
    window = windows(history, release, row)
    often = usual(history)
    one, rest, two = in_use(window, lambda size: (*e1(release, row, size, often), second(release, history, row, size)))
    return Judged(first=one, second=two, rest=rest, window=window, fast=fast(drawn))


def in_use(window: np.ndarray, found: Callable[[int], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """By trial and second, what is found with windows of the size in use; other sizes are not tried."""
    at = np.minimum(window, len(WINDOWS) - 1)
    every = {index: found(WINDOWS[index]) for index in np.unique(at)}
    return tuple(np.select([at == index for index in every], each) for each in zip(*every.values(), strict=True))


def second(release: np.ndarray, history: np.ndarray, row, window: int) -> np.ndarray:
    """The logarithm of the second e-value."""
    is_fresh = row.place(row.steps[0]).has_baseline
    return e2_fresh(release, row, window) if is_fresh else e2(release, history, row, window)


def windows(history: np.ndarray, release: np.ndarray, row) -> np.ndarray:
    """Index of the window in use, by trial and second of the release; 4 where hot runs are too long."""
    low = quiet(history)
    control = release[:, :, row.canaries :]
    usual = np.broadcast_to(low[:, None, :], (*release.shape[:2], low.shape[1]))
    if row.fresh:
        others = (release.sum(axis=2, keepdims=True) - control) / (release.shape[2] - 1)
        usual = np.where(
            np.array([row.place(share).has_baseline for share in by_second(row)])[:, None],
            np.maximum(usual, others),
            usual,
        )
    usual = np.concatenate([np.broadcast_to(low[:, None, :], history.shape), usual], axis=1)
    hot = np.concatenate([history, control], axis=1) > 1 + usual + 3 * np.sqrt(usual)
    run = np.zeros(hot.shape, int)
    run[:, 0] = hot[:, 0]
    for at in range(1, hot.shape[1]):
        run[:, at] = np.where(hot[:, at], run[:, at - 1] + 1, 0)
    longest = np.maximum.accumulate(run.max(axis=2), axis=1)[:, history.shape[1] :]
    return np.searchsorted(np.array(WINDOWS), 2 * longest - 1)


def by_second(row) -> list[float]:
    """The share of the canary in each second of the release."""
    return [share for share in row.steps for _ in range(row.step)]


def quiet(history: np.ndarray) -> np.ndarray:
    """Failures of a quiet second, by trial and replica."""
    return np.sort(history, axis=1)[:, : max(1, int(history.shape[1] * 0.9))].mean(axis=1)


def usual(history: np.ndarray) -> np.ndarray:
    """The same of a replica on average, by trial."""
    return quiet(history).mean(axis=1)


def partial(counts: np.ndarray, window: int) -> np.ndarray:
    """Sums since the beginning of each window; counts by trial, second of a step, replica, and more."""
    trials, seconds, *rest = counts.shape
    padded = np.pad(counts, ((0, 0), (0, -seconds % window), *((0, 0) for _ in rest)))
    return padded.reshape(trials, -1, window, *rest).cumsum(axis=2).reshape(trials, -1, *rest)[:, :seconds]


def hedged(logs: np.ndarray, part: float) -> np.ndarray:
    """The logarithms of e-values of which only this part is staked."""
    return np.log1p(part * np.expm1(np.minimum(logs, 500.0)))


def running(values: np.ndarray, window: int) -> np.ndarray:
    """Sums of closed windows and the open one, by second (axis 1)."""
    seconds = values.shape[1]
    ends = np.arange(seconds) % window == window - 1
    closed = np.where(ends[(None, slice(None)) + (None,) * (values.ndim - 2)], values, 0).cumsum(axis=1)
    return np.where(ends[(None, slice(None)) + (None,) * (values.ndim - 2)], closed, closed + values)


def log_mean(logs: np.ndarray) -> np.ndarray:
    top = logs.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(logs - top).mean(axis=-1))


def e1(release: np.ndarray, row, window: int, often: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of the first e-value, and of it without the worst block of the worst replica."""
    total, rest = [], []
    before, worst = (np.zeros((release.shape[0], 1, len(ODDS))) for _ in range(2))
    for number, share in enumerate(row.steps):
        place = row.place(share)
        c = np.log1p(place.share * (ODDS - 1))
        g = np.log(ODDS) - c
        most = np.maximum(1, g)
        bounds = np.array([e_values.compute_bounds(each * place.relative_load, size=window) for each in often])
        step = release[:, number * row.step : (number + 1) * row.step]
        mine, other = step[:, :, : row.canaries], step[:, :, row.canaries :].sum(axis=2)
        whole = often * place.relative_load * row.canaries / place.share
        hot = step.sum(axis=2) > (1 + whole + 3 * np.sqrt(whole))[:, None]
        ell = mine[..., None] * g - (other / row.canaries)[:, :, None, None] * c
        ell = np.where(hot[:, :, None, None], hedged(ell, 2 / 3), ell)
        ell = np.minimum(partial(ell, window), bounds[:, :1, None, None] * most)
        trials, seconds = ell.shape[:2]
        pad = -seconds % BLOCK
        blocks = np.pad(ell, ((0, 0), (0, pad), (0, 0), (0, 0)))
        blocks = blocks.reshape(trials * blocks.shape[1] // BLOCK, BLOCK, row.canaries, len(ODDS))
        a_block = np.repeat(bounds[:, 1], len(blocks) // trials)[:, None, None, None]
        inside = np.minimum(running(blocks, window), a_block * most)
        inside = inside.reshape(trials, -1, row.canaries, len(ODDS))[:, :seconds]
        so_far = running(inside, BLOCK).sum(axis=2) + before
        ends = (np.arange(seconds) % BLOCK == BLOCK - 1) | (np.arange(seconds) == seconds - 1)
        largest = np.maximum(inside.max(axis=2), 0)
        closed = np.maximum.accumulate(np.where(ends[None, :, None], largest, 0), axis=1)
        most_so_far = np.maximum(np.maximum(closed, largest), worst)
        before, worst = so_far[:, -1:], np.maximum(worst, closed[:, -1:])
        total.append(log_mean(so_far))
        rest.append(log_mean(so_far - most_so_far))
    return np.concatenate(total, axis=1), np.concatenate(rest, axis=1)


def size(counts: np.ndarray) -> int:
    """At least the largest count, in few sizes."""
    return 1 << int(max(1, counts.max())).bit_length()


@functools.lru_cache(maxsize=256)
def tail(most: int, ks: int, rho: float) -> np.ndarray:
    """P(binomial(n, rho) ≥ k) by n ≤ most and k ≤ ks."""
    table = np.zeros((most + 1, ks + 2))
    table[:, 0] = 1.0
    for n in range(1, most + 1):
        table[n, 1:] = table[n - 1, 1:] * (1 - rho) + table[n - 1, :-1] * rho
    return table


def e2_fresh(release: np.ndarray, row, window: int) -> np.ndarray:
    """The logarithm of the second e-value next to a baseline: a mean over LEVELS, without a history."""
    total, before = [], np.zeros((release.shape[0], 1, len(LEVELS), len(ODDS)))
    weights = np.reshape(WEIGHTS, (len(LEVELS), len(ODDS)))
    for number, share in enumerate(row.steps):
        mine, control, _ = row.place(share).thinning
        step = partial(release[:, number * row.step : (number + 1) * row.step], window)
        so_far = np.ceil((np.arange(step.shape[1]) + 1) / window)[None]
        levels = []
        for level in LEVELS:
            in_c = running(reached(step[:, :, : row.canaries], level, mine), window).sum(axis=2)
            in_s = running(reached(step[:, :, row.canaries :], level, control), window).sum(axis=2)
            levels.append(ratio(in_c, in_s, so_far * row.canaries, so_far * row.stables))
        both = np.stack(levels, axis=2) + before
        total.append(log_mean((both + weights).reshape(*both.shape[:2], -1)))
        before = both[:, -1:]
    return np.concatenate(total, axis=1)


def reached(counts: np.ndarray, level: int, kept: float) -> np.ndarray:
    """By window, the chance that at least `level` failures are left where each is kept with this probability."""
    if kept >= 1 or counts.max() < level:
        return (counts >= level).astype(float)
    return tail(size(counts), level, kept)[counts, level]


def e2(release: np.ndarray, history: np.ndarray, row, window: int, ks: int = 200) -> np.ndarray:
    """The logarithm of the second e-value, with stable's history."""
    total, before = [], np.zeros((release.shape[0], 1, len(ODDS)))
    usable = history.shape[1] // window * window
    past = history[:, history.shape[1] - usable :]
    past = past.reshape(len(past), usable // window, window, -1).sum(axis=2).reshape(len(past), -1)
    for number, share in enumerate(row.steps):
        step = partial(release[:, number * row.step : (number + 1) * row.step], window)
        mine, other = step[:, :, : row.canaries], step[:, :, row.canaries :]
        of_mine, of1, of0 = (
            tail(size(each), ks, kept)
            for each, kept in zip((mine, other, past), row.place(share).thinning, strict=True)
        )
        none = np.zeros(len(past), int)
        least = fewest(of0, past, np.full(len(past), 0.25), above=none, limit=none + ks)
        usual = of0[past, least[:, None]].mean(axis=1)
        so_far = np.ceil((np.arange(mine.shape[1]) + 1) / window)[None]
        t, u = so_far * row.canaries, so_far * (row.stables if share < 1 else 0) + past.shape[1]
        both = before
        large = fewest(of0, past, usual / 2 * (1 + 1e-6), above=least, limit=4 * least)
        for k in (least, large):
            in_c = running(of_mine[mine, k[:, None, None]], window).sum(axis=2)
            in_s = running(of1[other, k[:, None, None]], window).sum(axis=2)
            in_s = in_s + of0[past, k[:, None]].sum(axis=1)[:, None]
            found = ratio(in_c, in_s, t, u)
            both = both + (found if k is least else hedged(found, 1 / 2))
            t, u = in_c, in_s
        total.append(log_mean(both))
        before = both[:, -1:]
    return np.concatenate(total, axis=1)


def fewest(of: np.ndarray, past: np.ndarray, most: np.ndarray, *, above: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """By trial, the fewest failures, more than `above`, that at most this share of the windows have, up to `limit`."""
    k, limit = above + 1, np.minimum(limit, of.shape[1] - 1)
    left = np.arange(len(past))
    while len(left):
        over = of[past[left], k[left][:, None]].mean(axis=1) > most[left]
        left = left[over & (k[left] < limit[left])]
        k[left] += 1
    return k


def ratio(c, s, t, u) -> np.ndarray:
    """By θ: the likelihood ratio of incident odds θ times as high at the canary."""
    usable = (np.minimum(t, u) >= 1e-6) & (c + s > 0) & (c + s < np.asarray(t) + u)
    t, u = np.where(usable, t, 1.0), np.where(usable, u, 1.0)
    c, s = np.where(usable, c, 0.5), np.where(usable, s, 0.5)
    c, s, t, u = (np.asarray(each, float)[..., None] for each in np.broadcast_arrays(c, s, t, u))
    n, hits = t + u, c + s
    a = u * (ODDS - 1)
    b = t * ODDS + u - hits * (ODDS - 1)
    p = (-b + np.sqrt(b * b + 4 * a * hits)) / (2 * a)
    q = ODDS * p / (1 + (ODDS - 1) * p)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = lambda x, y: np.where(x > 1e-12, x * np.log(np.maximum(y, 1e-300)), 0.0)  # noqa: E731
        out = log(c, q) + log(t - c, 1 - q) + log(s, p) + log(u - s, 1 - p)
        out = out - log(hits, hits / n) - log(n - hits, 1 - hits / n)
    return np.where(usable[..., None], out, 0.0)


def baked(drawn: Drawn, *, margin: float = 0.02, shortest: int = 10, minute: int = 60, fewest: int = 50) -> np.ndarray:
    """True where the failures of the last minute are more than any minute of the history had, and the margin."""
    row = drawn.row
    past, past_all = (each[:, : row.known, row.canaries :].sum(axis=2) for each in (drawn.first, drawn.requests))
    bad, requests = (_minutes(each, min(minute, row.known)) for each in (past, past_all))
    worst = np.where(requests >= fewest, bad / np.maximum(1, requests), 0).max(axis=1)
    now, now_all = (each[:, row.known :, : row.canaries].sum(axis=2) for each in (drawn.first, drawn.requests))
    padded = [np.pad(each, ((0, 0), (minute - 1, 0))) for each in (now, now_all)]
    lately, requests = (_minutes(each, minute) for each in padded)
    found = lately / np.maximum(1, requests) > worst[:, None] + margin
    found[:, : shortest - 1] = False
    return found


def _minutes(counts: np.ndarray, length: int) -> np.ndarray:
    """Sums over all windows of this many seconds."""
    summed = np.pad(counts.cumsum(axis=1), ((0, 0), (1, 0)))
    return summed[:, length:] - summed[:, :-length]


def fast(drawn: Drawn, *, seconds: int = 5, alone: int = 20, fewest: int = 10) -> np.ndarray:
    """True where every request of every canary replica failed for so long."""
    row = drawn.row
    need = alone if row.canaries == 1 else seconds
    failed, requests = drawn.failed[:, row.known :], drawn.requests[:, row.known :]
    out = np.zeros(failed.shape[:2], bool)
    for at in range(failed.shape[1]):
        start = max(at + 1 - need, at // row.step * row.step)
        if at + 1 - start < need:
            continue
        f, n = failed[:, start : at + 1].sum(axis=1), requests[:, start : at + 1].sum(axis=1)
        mine_f, mine_n = f[:, : row.canaries], n[:, : row.canaries]
        all_failed = (mine_f == mine_n).all(axis=1) & (mine_n > 0).all(axis=1) & (mine_n.sum(axis=1) >= fewest)
        stable_ok = f[:, row.canaries :].sum(axis=1) < 0.5 * np.maximum(1, n[:, row.canaries :].sum(axis=1))
        out[:, at] = all_failed & stable_ok
    return out
