"""The rows of the simulation's tables: each is one kind of traffic and one kind of fault."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from devbox.gray.windows import TrafficSplit

STEPS = (0.05, 0.20, 0.50)


@dataclass(frozen=True, kw_only=True)
class Bursts:
    """A replica fails `share` of its requests for `length` seconds, every `period` seconds on average.

    `common`: all replicas at the same moments. `late`: only from the release on.
    """

    period: float
    length: float = 1.0
    share: float = 1.0
    common: bool = False
    late: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """Rates of errors per request: `base` of stable, `bad` of the canary (None: the same).

    `rate`: requests a second. `canaries`, `stables`: replicas. `clients`: how many there are, 0: one for each request.
    `broken`: the share of clients of whom `breaks` of the requests fail. `retries`: how often each error occurs.
    `drift`: amplitude of a slow wave of `base`; `rise`: factor on both sides from the release on. `uneven`: factors of
    each side's first replica. `bad_stable`: the rate of stable's first replica. `machine`: the canary's first replica
    fails in bursts. `known`: seconds of history. `bound`: false aborts that are allowed, percent; None: see `worst`.
    `fresh`: with a baseline, of as many new replicas as `stables`; `aged`: the rate of stable's old replicas, where it
    is another than that of new ones; `start`: (seconds, rate) new replicas fail so often for so long.
    """

    name: str
    base: float = 0.001
    bad: float | None = None
    rate: float = 100.0
    canaries: int = 2
    stables: int = 2
    clients: int = 0
    broken: float = 0.0
    breaks: float = 1.0
    retries: int = 1
    bursts: Bursts | None = None
    drift: float = 0.0
    rise: float = 1.0
    uneven: float = 1.0
    bad_stable: float = 0.0
    machine: Bursts | None = None
    known: int = 600
    step: int = 60
    bound: float = 1.5
    steps: tuple[float, ...] = field(default=STEPS)
    fresh: bool = False
    aged: float | None = None
    start: tuple[float, float] | None = None

    @property
    def seconds(self) -> int:
        """Duration of the release."""
        return self.step * len(self.steps)

    def place(self, share: float) -> TrafficSplit:
        """True if the product compares both sides at this traffic weight."""
        baselines = self.stables if self.fresh else None
        return TrafficSplit.from_share(share, canaries=self.canaries, stables=self.stables, baselines=baselines)


EQUAL = (
    Row(name="independent 0.1 %"),
    Row(name="independent 1 %", base=0.01),
    Row(name="independent 5 %", base=0.05),
    Row(name="retries ×2", retries=2),
    Row(name="retries ×3", retries=3),
    Row(name="retries ×5", retries=5),
    Row(name="1 % of 1,000 clients broken", clients=1000, broken=0.01),
    Row(name="1 % of 10,000 clients broken", clients=10_000, broken=0.01),
    Row(name="2 % of 200 clients broken", clients=200, broken=0.02),
    Row(name="10 % of 20 clients broken", clients=20, broken=0.1),
    Row(name="5 % of 1,000 clients fail 20 %", clients=1000, broken=0.05, breaks=0.2),
    Row(name="bursts 1 s per 60 s", bursts=Bursts(period=60)),
    Row(name="bursts 1 s per 120 s", bursts=Bursts(period=120)),
    Row(name="bursts 1 s per 300 s", bursts=Bursts(period=300)),
    Row(name="bursts 1 s per 600 s", bursts=Bursts(period=600)),
    Row(name="bursts 1 s at 30 % per 60 s", bursts=Bursts(period=60, share=0.3)),
    Row(name="bursts 2 s per 600 s", bursts=Bursts(period=600, length=2)),
    Row(name="bursts 4 s per 300 s", bursts=Bursts(period=300, length=4)),
    Row(name="bursts 1 s per 120 s, 1 % of 1,000 clients broken", bursts=Bursts(period=120), clients=1000, broken=0.01),
    Row(name="bursts 1 s per 120 s, 20 req/s", bursts=Bursts(period=120), rate=20),
    Row(name="bursts 1 s per 120 s, 1,000 req/s", bursts=Bursts(period=120), rate=1000),
    Row(name="bursts 1 s per 120 s, 4+4 replicas", bursts=Bursts(period=120), canaries=4, stables=4),
    Row(name="bursts 1 s per 120 s, 1+3 replicas", bursts=Bursts(period=120), canaries=1, stables=3),
    Row(name="bursts 1 s per 120 s, 2+1 replicas", bursts=Bursts(period=120), canaries=2, stables=1),
    Row(name="unequal replicas (×3)", uneven=3),
    Row(name="one bad stable replica (2 %)", bad_stable=0.02),
    Row(name="common bursts 1 s per 120 s", bursts=Bursts(period=120, common=True)),
    Row(name="drift", base=0.01, drift=0.9),
    Row(name="common rise ×5", base=0.002, rise=5),
    Row(name="fails: bursts 1 s per 120 s, 1+1 replicas", bursts=Bursts(period=120), canaries=1, stables=1, bound=1.7),
    Row(name="fails: bursts 10 s per 600 s", bursts=Bursts(period=600, length=10), bound=3.0),
    Row(name="fails: bursts that begin with the release", bursts=Bursts(period=120, late=True), bound=11),
    Row(name="fails: bad machine under a canary replica", machine=Bursts(period=20), bound=100),
)
WORSE = (
    Row(name="1 → 10 %", base=0.01, bad=0.1),
    Row(name="1 → 10 %, 20 req/s", base=0.01, bad=0.1, rate=20),
    Row(name="1 → 10 %, 1,000 clients", base=0.01, bad=0.1, clients=1000),
    Row(name="1 → 10 %, 200 clients", base=0.01, bad=0.1, clients=200),
    Row(name="1 → 2 %", base=0.01, bad=0.02),
    Row(name="1 → 2 %, steps of 300 s", base=0.01, bad=0.02, step=300),
    Row(name="0 → 1 %", base=0.0, bad=0.01),
    Row(name="0 → 1 %, 300 s of history", base=0.0, bad=0.01, known=300),
    Row(name="5 → 10 %", base=0.05, bad=0.1),
    Row(name="1 → 30 %", base=0.01, bad=0.3),
    Row(name="1 → 100 %", base=0.01, bad=1.0),
    Row(name="1 → 10 %, bursts 1 s per 120 s", base=0.01, bad=0.1, bursts=Bursts(period=120)),
    Row(name="1 → 10 %, 1+1 replicas", base=0.01, bad=0.1, canaries=1, stables=1),
    Row(name="1 → 2 %, 1,000 req/s", base=0.01, bad=0.02, rate=1000),
)
BAKE = (
    Row(name="equal", base=0.01),
    Row(name="bursts 1 s per 120 s", bursts=Bursts(period=120)),
    Row(name="bursts 4 s per 300 s", bursts=Bursts(period=300, length=4)),
    Row(name="1 % of 1,000 clients broken", clients=1000, broken=0.01),
    Row(name="drift", base=0.01, drift=0.9),
    Row(name="common rise ×5", base=0.01, rise=5),
    Row(name="1 → 2 %", base=0.01, bad=0.02),
    Row(name="1 → 5 %", base=0.01, bad=0.05),
    Row(name="1 → 10 %", base=0.01, bad=0.1),
    Row(name="1 → 100 %", base=0.01, bad=1.0),
)
BAKE = tuple(replace(row, steps=(1.0,), step=300) for row in BAKE)
SHORT = tuple(
    replace(row, name=f"{row.name}, {known} s of history", known=known)
    for known in (300, 120, 20)
    for row in EQUAL
    if row.name in ("independent 1 %", "retries ×3", "bursts 1 s per 120 s", "bursts 4 s per 300 s")
)


def _both(row: Row) -> tuple[Row, Row]:
    """Compared with stable as it runs, without a bound, and with a baseline."""
    return replace(row, bound=100), replace(row, name=f"{row.name}, baseline fresh", fresh=True)


def _fresh(rows: tuple[Row, ...], *names: str) -> tuple[Row, ...]:
    """Those whose names begin so, with a baseline; without those that have more traffic, steps or other replicas."""
    left_out = ("1,000 req/s", "1+3", "2+1", "steps of", "of history")
    chosen = (row for row in rows if row.name.removeprefix("fails: ").startswith(names))
    return tuple(_both(row)[1] for row in chosen if not any(each in row.name for each in left_out))


FRESH = (
    *_fresh(EQUAL, "independent", "retries", "1 % of", "2 % of", "bursts", "drift", "common rise"),
    *_both(Row(name="new replicas fail 50 % for 3 s", start=(3, 0.5))),
    *_both(Row(name="new replicas fail 20 % for 10 s", start=(10, 0.2))),
    *_both(Row(name="new replicas fail 5 % for 30 s", start=(30, 0.05))),
    *_both(Row(name="old replicas fail 5 %, new ones 1 %", base=0.01, aged=0.05)),
    *_both(Row(name="old replicas fail 1 %, new ones 5 %", base=0.05, aged=0.01)),
)
FRESH_WORSE = (
    *_fresh(WORSE, "1 → 10 %", "1 → 2 %", "0 → 1 %", "5 → 10 %", "1 → 100 %"),
    *_both(Row(name="1 → 5 %, old replicas fail 5 %", base=0.01, bad=0.05, aged=0.05)),
)
