"""Stable's last ten minutes before a gray release: its own failure rate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from devbox.gray import windows
from devbox.gray.latency import LatencyLimits
from devbox.model.frozen import dataclass
from devbox.model.traffic import CANARY, HISTORY, STABLE, Second, Side

MINUTE = 60
_FEWEST_BLOCKS = 50  # requests of a minute with a meaningful rate
_LATE = 10  # seconds after the others in which a replica may be without requests


@dataclass(frozen=True, kw_only=True)
class StableHistory:
    """Counts by second, oldest first, up to `at`; zeros where a replica had no requests.

    `failed` and `slow` by replica: first failures, and requests slower than `limits.tail`; `requests`: of all replicas.
    `all`: response times from the beginning. `limits`: None until there are enough requests. `born`: first second of
    each replica.
    """

    at: int = 0
    requests: tuple[int, ...] = ()
    failed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    slow: dict[str, tuple[int, ...]] = field(default_factory=dict)
    all: Side = field(default_factory=Side)
    limits: LatencyLimits | None = None
    born: dict[str, int] = field(default_factory=dict)

    def add_seconds(self, seconds: Sequence[Second], *, quantile: float, fewest: int) -> StableHistory:
        """Add seconds of stable. `fewest`: requests required for a quantile.

        After the clock was set back by up to a minute, known seconds do not count twice; after a larger step, the
        history restarts.
        """
        if seconds and self.at - max(each.at for each in seconds) > MINUTE:
            empty = replace(self, at=0, requests=(), failed={}, slow={}, born={})
            return empty.add_seconds(seconds, quantile=quantile, fewest=fewest)
        seconds = [each for each in seconds if each.at > self.at]
        if not seconds:
            return self
        whole = self.all + sum((Side(requests=each.requests, times=each.times) for each in seconds), Side())
        limits = self.limits
        if limits is None and whole.requests >= fewest and sum(whole.times) > 0:
            limits = LatencyLimits.from_history(whole, quantile=quantile)
        last = max(each.at for each in seconds)
        length = len(self.requests)
        first = self.at - length + 1 if length else min(each.at for each in seconds)
        add = _SeriesBuilder(first, last)
        slow = ((each.at, each.replica, limits.count_slow(each.times)) for each in seconds) if limits else ()
        total = add.extend({"": self.requests}, ((each.at, "", each.requests) for each in seconds))
        return replace(
            self,
            at=last,
            requests=total[""],
            failed=add.extend(self.failed, ((each.at, each.replica, each.first_failed) for each in seconds)),
            slow=add.extend(self.slow, slow),
            all=whole,
            limits=limits,
            born={**{each.replica: each.at for each in sorted(seconds, key=lambda each: -each.at)}, **self.born},
        )

    def trim_series(self, counts: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
        """Cut series by replica to the time since a late replica's start, as it did not fail before.

        Responses of the router itself (replica "") count from the beginning.
        """
        began = self.at - len(self.requests) + 1
        late = {name: at - began for name, at in self.born.items() if name and at - began > _LATE}
        return {name: each[late.get(name, 0) :] for name, each in counts.items()}

    def compute_usual(self) -> dict[str, float]:
        """Return the first failures per quiet second, by replica."""
        return {name: windows.compute_usual(counts) for name, counts in self.trim_series(self.failed).items()}

    def compute_usual_slow(self) -> dict[str, float]:
        """Return the slow requests per quiet second, by replica."""
        return {name: windows.compute_usual(counts) for name, counts in self.trim_series(self.slow).items()}

    def find_worst(self, counts: Mapping[str, Sequence[int]]) -> float:
        """Return the highest rate of these counts by replica in any minute."""
        summed = [sum(each) for each in zip(*counts.values(), strict=True)] or [0] * len(self.requests)
        length = min(MINUTE, len(summed))
        worst = 0.0
        bad, requests = sum(summed[:length]), sum(self.requests[:length])
        for start in range(len(summed) - length + 1):
            if requests >= _FEWEST_BLOCKS:
                worst = max(worst, bad / requests)
            if start + length < len(summed):
                bad += summed[start + length] - summed[start]
                requests += self.requests[start + length] - self.requests[start]
        return worst


class _SeriesBuilder:
    """Builder of series of equal length that end at `last`, of at most HISTORY seconds."""

    def __init__(self, first: int, last: int) -> None:
        self._first = max(first, last - HISTORY + 1)
        self._gone, self._length = self._first - first, last - self._first + 1

    def extend(
        self, series: Mapping[str, Sequence[int]], counts: Iterable[tuple[int, str, int]]
    ) -> dict[str, tuple[int, ...]]:
        left = {name: values[self._gone :] for name, values in series.items()}
        whole = {name: [*values, *[0] * (self._length - len(values))] for name, values in left.items()}
        for at, name, count in counts:
            if self._first <= at:
                whole.setdefault(name, [0] * self._length)[at - self._first] += count
        return {name: tuple(values) for name, values in whole.items()}


KEPT = 60  # seconds
REQUESTS, FAILED, FIRST, SLOW, FIRST_SLOW = range(5)  # of a replica's counts
_FAST, _ALONE = 5, 20  # seconds without any success; of a single replica, whose bursts look the same
_FEWEST, _CLIENTS = 10, 3
_HALF = 0.5

Counts = dict[str, tuple[int, ...]]  # by replica


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One second, in seconds since the epoch. `stable`: the control, stable or its baseline.

    `spread`: by side, requests above limits (`LatencyLimits.count_above`), once warm.
    """

    at: int
    canary: Counts = field(default_factory=dict)
    stable: Counts = field(default_factory=dict)
    spread: Counts = field(default_factory=dict)

    @property
    def timed_counts(self) -> Counts:
        """By side, requests with counted response times, and the slow ones."""
        slow = {CANARY: self.canary, STABLE: self.stable}
        return {
            side: (counts[0], sum(each[SLOW] for each in slow[side].values())) for side, counts in self.spread.items()
        }


def group_moments(
    seconds: Iterable[Second], *, limits: LatencyLimits | None, cold: frozenset[tuple[int, str]]
) -> list[Moment]:
    """Group seconds of the canary and its control, oldest first. `cold`: replica seconds without response times."""
    found: dict[int, Moment] = {}
    for each in seconds:
        moment = found.setdefault(each.at, Moment(at=each.at))
        into = moment.canary if each.side == CANARY else moment.stable
        warm = limits is not None and (each.at, each.replica) not in cold
        slow = limits.count_slow(each.times) if limits is not None and warm else 0
        once = slow if each.first_slow is None else each.first_slow if warm else 0
        counts = (each.requests, each.failed, each.first_failed, slow, once)
        into[each.replica] = _add_counts(into.get(each.replica, ()), counts)
        if limits is not None and warm:
            side = CANARY if each.side == CANARY else STABLE
            moment.spread[side] = _add_counts(moment.spread.get(side, ()), limits.count_above(each.times))
    return [found[at] for at in sorted(found)]


def build_block(seconds: Sequence[Moment], *, first: int, length: int, once: int, every: int) -> windows.Block:
    """Build a block of `length` seconds from `first` on: counts by client (`once`) and by request (`every`)."""
    here = [each for each in seconds if first <= each.at < first + length]

    def rows(side: str, count: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for moment in here:
            replicas: Mapping[str, tuple[int, ...]] = getattr(moment, side)
            for name, counts in replicas.items():
                found.setdefault(name, [0] * length)[moment.at - first] = counts[count]
        return found

    return windows.Block(
        seconds=length,
        once=rows("canary", once),
        canary=rows("canary", every),
        stable=rows("stable", every),
        stable_once=rows("stable", once),
    )


def find_total_failure(seconds: Sequence[Moment], *, now: int, since: int, replicas: int) -> str:
    """Return the failure if every request of all canary replicas failed for some seconds, but stable's did not; or "".

    `now`: the last complete second; `since`: the first that counts.
    """
    length = _ALONE if replicas == 1 else _FAST
    start = now - length + 1
    here = [each for each in seconds if each.at >= start]
    canary = sum_counts(each.canary for each in here)
    requests, failed, first = (sum(each[at] for each in canary.values()) for at in (REQUESTS, FAILED, FIRST))
    stable = sum_counts(each.stable for each in here).values()
    if start < since or requests < _FEWEST or failed < requests or len(canary) < replicas:
        return ""
    clients = max(first, sum(counts[FIRST] for each in seconds for counts in each.canary.values()))
    others, other_failed = (sum(each[at] for each in stable) for at in (REQUESTS, FAILED))
    if clients < _CLIENTS or other_failed >= _HALF * max(1, others):
        return ""
    return f"all {requests} requests of the canary failed for {length} s"


def sum_counts(parts: Iterable[Counts]) -> Counts:
    """Return the sum of counts over several seconds."""
    found: Counts = {}
    for part in parts:
        for name, counts in part.items():
            found[name] = _add_counts(found.get(name, ()), counts)
    return found


def _add_counts(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True)) if one else other
