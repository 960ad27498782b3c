"""Request counts of a router: requests, failures and response times for each side of a gray release."""

from __future__ import annotations

from devbox.model.frozen import dataclass

# Upper bounds of the response time classes, in microseconds; slower responses are in one additional class.
_DECADE = (100, 125, 160, 200, 250, 315, 400, 500, 630, 800)
TIMES = (*(step * 10**power for power in (0, 1, 2, 3) for step in _DECADE), 1_000_000, 2_000_000, 5_000_000, 10_000_000)

CANARY, STABLE, BASELINE = "canary", "stable", "baseline"
HISTORY = 600  # seconds of stable's history before a release, for its evaluation


@dataclass(frozen=True, kw_only=True)
class Side:
    """Requests of one side: all, failed, and by response time: a count for each class.

    `lost` are the failed ones that no server answered.
    """

    requests: int = 0
    errors: int = 0
    lost: int = 0
    times: tuple[int, ...] = (0,) * (len(TIMES) + 1)

    def subtract(self, earlier: Side) -> Side:
        """Return the requests after `earlier`; all of them if the router has since reset its counters."""
        if self.requests < earlier.requests or self.errors < earlier.errors:
            return self
        return Side(
            requests=self.requests - earlier.requests,
            errors=self.errors - earlier.errors,
            lost=max(0, self.lost - earlier.lost),
            times=tuple(max(0, now - before) for now, before in zip(self.times, earlier.times, strict=True)),
        )

    def __add__(self, other: Side) -> Side:
        return Side(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            lost=self.lost + other.lost,
            times=tuple(map(sum, zip(self.times, other.times, strict=True))),
        )

    def count_slower(self, limit: int) -> int:
        """Return the number of requests slower than `limit`, one of TIMES."""
        return sum(self.times[TIMES.index(limit) + 1 :])

    def find_quantile(self, share: float) -> int | None:
        """Return the lowest of TIMES that at least this share of the requests met; None without requests."""
        desired, seen = share * sum(self.times), 0
        if not desired:
            return None
        for limit, count in zip(TIMES, self.times, strict=False):
            seen += count
            if seen >= desired:
                return limit
        return TIMES[-1]


@dataclass(frozen=True, kw_only=True)
class Second:
    """The responses of one replica in one second of wall time, by the router's clock.

    `replica`: the server's name, "" for responses of the router itself. `first_failed`: failed responses to clients
    without an earlier failure in the same generation (see `Batch`), on either side; `first_slow`: the same for
    responses slower than the generation's limit, None without a limit. `times`: requests by TIMES and one additional
    class, as in `Side`. A response by stable in place of the canary (rescued) counts as a failure of the canary,
    replica "". Likewise for the baseline.
    """

    at: int  # seconds since the epoch
    replica: str
    side: str  # CANARY | STABLE | BASELINE
    requests: int = 0
    failed: int = 0
    first_failed: int = 0
    first_slow: int | None = None
    times: tuple[int, ...] = (0,) * (len(TIMES) + 1)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The responses of both sides in a period of constant traffic share.

    `seconds`: complete ones only, each delivered once, oldest first; the first batches include stable's up to HISTORY
    seconds before the release. Empty if the router does not count by second; then there are only `canary` and `stable`.
    A generation is a number that the controller sets in the router: each client's first failure and first slow response
    are counted once per generation. Before the first one, and between releases, a generation lasts HISTORY seconds.
    `baseline`: None without a baseline, which is not part of `stable`.
    """

    canary: Side
    stable: Side
    seconds: tuple[Second, ...] = ()
    baseline: Side | None = None

    @property
    def control(self) -> Side:
        """The reference for the canary."""
        return self.stable if self.baseline is None else self.baseline
