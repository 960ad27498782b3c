"""Response times of both sides, of many trials at once, as counts by class, second and replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from devbox.model.traffic import TIMES

STEPS = (0.05, 0.20, 0.50)
BOUNDS = (0.50, 0.25, 0.10)  # of stable's requests are slower, at most
TAIL = 0.01
_EDGES = np.array(TIMES, np.float32)
_WAVE = 120.0


@dataclass(frozen=True, kw_only=True)
class Slow:
    """Response times. `shape`: of one request, in µs; the canary's are `factor` times as long, of both sides.

    `pause`: (seconds between, length): a replica answers nothing for so long. `cold`: the first requests of each canary
    process take half a second more. `extra`: (share of the canary's requests, µs more). `wander`: amplitude of each
    replica's own slow wave; `wave`: of a common one; `uneven`: replicas are so much slower and faster than each other.
    `clients`, `hard`: how many there are, and the share of whom all requests are slow by 0.2 s.
    """

    name: str
    shape: str = "lognormal 0.5"
    factor: float = 1.0
    rate: float = 100.0
    pause: tuple[float, float] | None = None
    cold: int = 0
    extra: tuple[float, float] | None = None
    wander: float = 0.0
    wave: float = 0.0
    uneven: float = 0.0
    clients: int = 0
    hard: float = 0.0
    known: int = 300
    step: int = 60
    bound: float = 0.75

    @property
    def seconds(self) -> int:
        return self.step * len(STEPS)


def _bimodal(rng: np.random.Generator, count: int) -> np.ndarray:
    fast = rng.lognormal(np.log(3_000), 0.3, count)
    return np.where(rng.random(count) < 0.8, fast, 15 * fast)


SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "lognormal 0.5": lambda rng, count: np.exp(9.2 + 0.5 * rng.standard_normal(count, np.float32)),
    "lognormal 1": lambda rng, count: np.exp(9.2 + rng.standard_normal(count, np.float32)),
    "Pareto 1.5": lambda rng, count: 10_000 * (1 - rng.random(count, np.float32)) ** np.float32(-1 / 1.5),
    "normal": lambda rng, count: np.maximum(100, 10_000 + 1_000 * rng.standard_normal(count, np.float32)),
    "two kinds": _bimodal,
    "within one class": lambda rng, count: 10_050 + 20 * rng.random(count, np.float32),
}


@dataclass(frozen=True, kw_only=True)
class Timed:
    """By trial, second and replica (canary first): requests whose times count, and the slow ones among them.

    `slow`: above stable's 99 %, each client once, `raw`: each time; `history`: stable's before, each time. `above`:
    above each of BOUNDS. `limits`: the classes of BOUNDS and of the 99 %, `hist`: the history's requests by class.
    `all`, `all_slow`: with those of processes that are cold.
    """

    row: Slow
    counts: np.ndarray
    slow: np.ndarray
    raw: np.ndarray
    history: np.ndarray
    above: np.ndarray
    limits: np.ndarray
    hist: np.ndarray
    all: np.ndarray
    all_slow: np.ndarray


def draw(row: Slow, trials: int, rng: np.random.Generator, *, requests: int = 20, seconds: int = 10) -> Timed:
    shares = np.repeat(STEPS, row.step)
    state = _state(row, trials, rng)
    past = _requests(row, trials, rng, np.zeros(row.known), state, offset=0)
    hist = np.bincount(past.trial * 46 + past.kind, minlength=trials * 46).reshape(trials, 46)
    limits = np.stack([_limit(hist, share) for share in (*BOUNDS, TAIL)], axis=1)
    now = _requests(row, trials, rng, shares, state, offset=row.known)
    cells = trials * row.seconds * 4
    counts = np.bincount(now.cell, minlength=cells).reshape(trials, row.seconds, 4)
    warm = np.ones(counts.shape, bool)
    before = counts[:, :, :2].cumsum(axis=1) - counts[:, :, :2]
    born = np.where(before + counts[:, :, :2] > 0, np.arange(row.seconds)[None, :, None], row.seconds).min(axis=1)
    warm[:, :, :2] = (before >= requests) & (np.arange(row.seconds)[None, :, None] - born[:, None] >= seconds)
    flags = [now.kind > limits[now.trial, at] for at in range(len(BOUNDS) + 1)]
    by_cell = [np.bincount(now.cell[flag], minlength=cells).reshape(counts.shape) for flag in flags]
    old = np.bincount(past.cell[past.kind > limits[past.trial, -1]], minlength=trials * row.known * 4)
    first = flags[-1]
    if row.clients:
        order = np.argsort(now.cell[first] // 4, kind="stable")  # by trial and second
        _, index = np.unique((now.trial[first] * row.clients + now.client[first])[order], return_index=True)
        once = np.bincount(now.cell[first][order][index], minlength=cells).reshape(counts.shape)
    else:
        once = by_cell[-1]
    return Timed(
        row=row,
        counts=np.where(warm, counts, 0),
        slow=np.where(warm, once, 0),
        raw=np.where(warm, by_cell[-1], 0),
        history=old.reshape(trials, row.known, 4)[:, :, 2:],
        above=np.stack([np.where(warm, each, 0) for each in by_cell[:-1]], axis=-1),
        limits=limits,
        hist=hist,
        all=counts,
        all_slow=by_cell[-1],
    )


def _limit(hist: np.ndarray, share: float) -> np.ndarray:
    """The smallest class that at most `share` of the requests are above."""
    total = hist.sum(axis=1, keepdims=True)
    return np.argmax(hist.cumsum(axis=1) >= (1 - share) * total, axis=1)


@dataclass(frozen=True)
class _Requests:
    trial: np.ndarray
    cell: np.ndarray
    kind: np.ndarray
    client: np.ndarray


def _state(row: Slow, trials: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    whole = row.known + row.seconds
    at = np.arange(whole)
    factor = np.ones((trials, whole, 4), np.float32)
    if row.wander:
        phase, speed = rng.random((trials, 1, 4)) * 2 * np.pi, rng.uniform(60, 240, (trials, 1, 4))
        factor *= 1 + row.wander * np.sin(2 * np.pi * at[None, :, None] / speed + phase)
    if row.wave:
        factor *= 1 + row.wave * np.sin(2 * np.pi * at[None, :, None] / _WAVE)
    if row.uneven:
        factor *= np.array([1 + row.uneven, 1 - row.uneven] * 2, np.float32)
    factor[:, :, :2] *= row.factor
    end = np.full((trials, whole, 4), -1.0)
    if row.pause is not None:
        starts = rng.random((trials, whole, 4)) < 1 / row.pause[0]
        first = np.where(starts, at[None, :, None] + rng.random((trials, whole, 4)), -1)
        end = np.where(first >= 0, first + row.pause[1], -1)
        first, end = np.maximum.accumulate(first, axis=1), np.maximum.accumulate(end, axis=1)
        return {"factor": factor, "first": first, "end": end, "buckets": _buckets(row, trials, rng)}
    return {"factor": factor, "buckets": _buckets(row, trials, rng)}


def _buckets(row: Slow, trials: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random((trials, max(1, row.clients)))


def _requests(row: Slow, trials, rng, shares, state, *, offset) -> _Requests:
    seconds = len(shares)
    buckets = state["buckets"]
    if row.clients:
        trial = np.repeat(np.arange(trials), rng.poisson(row.rate * seconds, trials))
        second = rng.integers(0, seconds, len(trial))
        client = rng.integers(0, row.clients, len(trial))
        canary = buckets[trial, client] < shares[second]
        replica = np.where(canary, 0, 2) + rng.integers(0, 2, len(trial))
        cell = (trial * seconds + second) * 4 + replica
    else:
        mean = row.rate * np.stack([shares, shares, 1 - shares, 1 - shares], axis=1) / 2
        count = rng.poisson(np.broadcast_to(mean, (trials, seconds, 4)))
        cell = np.repeat(np.arange(count.size), count.ravel())
        trial, client = cell // (seconds * 4), np.zeros(0, int)
    took = SHAPES[row.shape](rng, len(cell)).astype(np.float32)
    if row.wander or row.wave or row.uneven or row.factor != 1:
        took *= state["factor"][:, offset : offset + seconds].ravel()[cell]
    if row.extra is not None and offset:
        took += np.where((cell % 4 < 2) & (rng.random(len(cell)) < row.extra[0]), np.float32(row.extra[1]), 0)
    if row.clients and row.hard:
        took += np.where(client < row.hard * row.clients, np.float32(200_000), 0)
    if row.pause is not None:
        first = state["first"][:, offset : offset + seconds].ravel()[cell]
        end = state["end"][:, offset : offset + seconds].ravel()[cell]
        at = offset + (cell // 4) % seconds + rng.random(len(cell))
        took = np.where((first <= at) & (at < end), took + 1e6 * (end - at), took)
    if row.cold and offset:
        took = took + np.where(_cold(cell, row, trials, seconds), np.float32(500_000), 0)
    kind = np.searchsorted(_EDGES, took.astype(np.float32)).astype(np.int64)
    return _Requests(trial, cell, kind, client)


def _cold(cell: np.ndarray, row: Slow, trials: int, seconds: int) -> np.ndarray:
    """Whether a request is among the first ones of its canary replica."""
    order = np.lexsort((cell, cell % 4 + cell // (seconds * 4) * 4))
    group = (cell % 4 + cell // (seconds * 4) * 4)[order]
    start = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
    rank = np.arange(len(cell)) - np.repeat(start, np.diff(np.concatenate([start, [len(cell)]])))
    out = np.zeros(len(cell), bool)
    out[order] = rank < row.cold
    return out & (cell % 4 < 2)


EQUAL = (
    *(Slow(name=f"equal, {shape}", shape=shape) for shape in SHAPES),
    Slow(name="common wave ±30 %", wave=0.3),
    Slow(name="replicas ±10 % of each side", uneven=0.1),
    Slow(name="pauses 0.3 s per 60 s", pause=(60, 0.3)),
    Slow(name="pauses 0.3 s per 60 s, 1,000 req/s", pause=(60, 0.3), rate=1000),
    Slow(name="pauses 1 s per 300 s", pause=(300, 1)),
    Slow(name="pauses 3 s per 300 s", pause=(300, 3)),
    Slow(name="cold start: 3 slow requests", cold=3),
    Slow(name="cold start: 8 slow requests", cold=8),
    Slow(name="each replica wanders ±5 %", wander=0.05),
    Slow(name="each replica wanders ±10 %", wander=0.1),
    Slow(name="1 % of 1,000 clients are slow", clients=1000, hard=0.01),
    Slow(name="canary 5 % slower (tolerated)", factor=1.05),
    Slow(name="fails: pauses 10 s per 300 s", pause=(300, 10), bound=2.6),
    Slow(name="fails: cold start: 40 slow requests", cold=40, bound=100),
    Slow(name="fails: canary 10 % slower (load)", factor=1.1, bound=31),
)
WORSE = (
    Slow(name="+20 %, lognormal 0.5", factor=1.2),
    Slow(name="+20 %, lognormal 1", factor=1.2, shape="lognormal 1"),
    Slow(name="+20 %, Pareto 1.5", factor=1.2, shape="Pareto 1.5"),
    Slow(name="+20 %, normal", factor=1.2, shape="normal"),
    Slow(name="+20 %, lognormal 0.5, 20 req/s", factor=1.2, rate=20),
    Slow(name="+20 %, pauses 0.3 s per 60 s", factor=1.2, pause=(60, 0.3)),
    Slow(name="+20 % within one class", factor=1.2, shape="within one class"),
    Slow(name="2 % of requests +200 ms", extra=(0.02, 200_000)),
    Slow(name="×2, lognormal 0.5", factor=2),
    Slow(name="×2, Pareto 1.5", factor=2, shape="Pareto 1.5"),
)
