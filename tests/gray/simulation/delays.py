"""Simulated response times of both sides, many trials at once, as counts by class, second and replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from devbox.gray.latency import LatencyLimits
from devbox.gray.windows import TrafficSplit
from devbox.model.traffic import TIMES, Side

STEPS = (0.05, 0.20, 0.50)
QUANTILE = 0.99  # of stable's requests; slower ones are slow
_EDGES = np.array(TIMES, np.float32)
_WAVE = 120.0
_YOUTH = 60.0  # seconds after which a new replica is as fast as an old one


@dataclass(frozen=True, kw_only=True)
class Slow:
    """Response times. `shape`: of one request, in µs; the canary's are `factor` times as long, of both sides.

    `pause`: (seconds between, length): a replica answers nothing for so long. `cold`: the first requests of each new
    process take half a second more. `extra`: (share of the canary's requests, µs more). `wander`: amplitude of each
    replica's own slow wave; `wave`: of a common one; `uneven`: replicas are so much slower and faster than each other.
    `clients`, `hard`: how many there are, and the share of whom all requests are slow by 0.2 s. `fresh`: with a
    baseline, of two new replicas; `young`: the factor of new replicas at their beginning, which falls to 1 in a minute.
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
    fresh: bool = False
    young: float = 1.0

    @property
    def seconds(self) -> int:
        return self.step * len(STEPS)

    @property
    def new(self) -> int:
        """Number of new replicas among the four; the canary's two come first."""
        return 4 if self.fresh else 2

    def place(self, share: float) -> TrafficSplit:
        """True if the product compares both sides at this traffic weight."""
        return TrafficSplit.from_share(share, canaries=2, stables=2, baselines=2 if self.fresh else None)


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
    above each of the limits in general. `limits`: of each trial, from its history.
    `all`, `all_slow`, `once`: with those of processes that are cold. `times`, `past`: all requests by class, of the
    release and of the history, where they were asked for.
    """

    row: Slow
    counts: np.ndarray
    slow: np.ndarray
    raw: np.ndarray
    history: np.ndarray
    above: np.ndarray
    limits: list[LatencyLimits]
    all: np.ndarray
    all_slow: np.ndarray
    once: np.ndarray
    times: np.ndarray | None = None
    past: np.ndarray | None = None


def draw(
    row: Slow, trials: int, rng: np.random.Generator, *, requests: int = 20, seconds: int = 10, whole: bool = False
) -> Timed:
    """Simulate this many trials of a row. `requests`, `seconds`: of the warm-up; `whole`: with `times` and `past`."""
    shares = np.repeat(STEPS, row.step)
    state = _state(row, trials, rng)
    past = _requests(row, trials, rng, np.zeros(row.known), state, offset=0)
    hist = np.bincount(past.trial * 46 + past.kind, minlength=trials * 46).reshape(trials, 46)
    limits = [LatencyLimits.from_history(Side(times=tuple(each)), quantile=QUANTILE) for each in hist.tolist()]
    classes = np.array([(*each.classes, each.tail) for each in limits])
    now = _requests(row, trials, rng, shares, state, offset=row.known)
    cells = trials * row.seconds * 4
    counts = np.bincount(now.cell, minlength=cells).reshape(trials, row.seconds, 4)
    warm = np.ones(counts.shape, bool)
    new = counts[:, :, : row.new]
    before = new.cumsum(axis=1) - new
    born = np.where(new > 0, np.arange(row.seconds)[None, :, None], row.seconds).min(axis=1)
    warm[:, :, : row.new] = (before >= requests) & (np.arange(row.seconds)[None, :, None] - born[:, None] >= seconds)
    flags = [now.kind > classes[now.trial, at] for at in range(classes.shape[1])]
    by_cell = [np.bincount(now.cell[flag], minlength=cells).reshape(counts.shape) for flag in flags]
    old = np.bincount(past.cell[past.kind > classes[past.trial, -1]], minlength=trials * row.known * 4)
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
        all=counts,
        all_slow=by_cell[-1],
        once=once,
        times=_by_class(now, counts.shape) if whole else None,
        past=_by_class(past, (trials, row.known, 4)) if whole else None,
    )


def _by_class(requests: _Requests, shape: tuple[int, ...]) -> np.ndarray:
    classes = len(TIMES) + 1
    return np.bincount(requests.cell * classes + requests.kind, minlength=np.prod(shape) * classes).reshape(*shape, -1)


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
    if row.young != 1:
        age = np.clip(np.arange(row.seconds) / _YOUTH, 0, 1)
        factor[:, row.known :, : row.new] *= (row.young + (1 - row.young) * age)[None, :, None]
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
    other = np.minimum(shares, 1 - shares) if row.fresh and offset else 1 - shares
    if row.clients:
        trial = np.repeat(np.arange(trials), rng.poisson(row.rate * seconds, trials))
        second = rng.integers(0, seconds, len(trial))
        client = rng.integers(0, row.clients, len(trial))
        bucket = buckets[trial, client]
        compared = (bucket < shares[second]) | (bucket >= 1 - other[second])
        trial, second, client = trial[compared], second[compared], client[compared]
        canary = buckets[trial, client] < shares[second]
        replica = np.where(canary, 0, 2) + rng.integers(0, 2, len(trial))
        cell = (trial * seconds + second) * 4 + replica
    else:
        mean = row.rate * np.stack([shares, shares, other, other], axis=1) / 2
        count = rng.poisson(np.broadcast_to(mean, (trials, seconds, 4)))
        cell = np.repeat(np.arange(count.size), count.ravel())
        trial, client = cell // (seconds * 4), np.zeros(0, int)
    took = SHAPES[row.shape](rng, len(cell)).astype(np.float32)
    if row.wander or row.wave or row.uneven or row.factor != 1 or row.young != 1:
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
    """Whether a request is among the first ones of its new replica."""
    order = np.lexsort((cell, cell % 4 + cell // (seconds * 4) * 4))
    group = (cell % 4 + cell // (seconds * 4) * 4)[order]
    start = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
    rank = np.arange(len(cell)) - np.repeat(start, np.diff(np.concatenate([start, [len(cell)]])))
    out = np.zeros(len(cell), bool)
    out[order] = rank < row.cold
    return out & (cell % 4 < row.new)


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

_YOUNG = tuple(
    Slow(name=f"new replicas begin {100 * factor - 100:.0f} % slower, for a minute", young=factor, bound=100)
    for factor in (1.2, 1.5)
)
_CHOSEN = ("cold start", "pauses", "equal, lognormal 0.5", "1 % of")
FRESH = (
    *_YOUNG,
    *(
        replace(row, name=f"{row.name}, baseline fresh", fresh=True, bound=row.bound if "10 s" in row.name else 0.75)
        for row in (*EQUAL, *_YOUNG)
        if row in _YOUNG or (row.name.removeprefix("fails: ").startswith(_CHOSEN) and row.rate < 500)
    ),
)
FRESH_WORSE = (
    *(
        replace(row, name=f"{row.name}, baseline fresh", fresh=True)
        for row in WORSE
        if row.name.startswith(("+20 %, lognormal", "+20 %, Pareto", "×2, lognormal"))
    ),
    *(
        replace(WORSE[0], name=f"+20 %, cold start: {cold} slow requests, baseline fresh", cold=cold, fresh=True)
        for cold in (3, 8, 40)
    ),
)
