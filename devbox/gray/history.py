"""Stable's last ten minutes before a gray release: how often it fails on its own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from devbox.frozen import dataclass
from devbox.gray import windows
from devbox.gray.latency import Limits
from devbox.model.traffic import HISTORY, Second, Side

MINUTE = 60
_FEWEST = 50  # requests of a minute that has a share
_LATE = 10  # seconds after the others in which a replica need not have had a request


@dataclass(frozen=True, kw_only=True)
class History:
    """Counts by second, oldest first and up to `at`, zeros where a replica had no requests.

    `failed` and `slow` by replica: first failures, and requests slower than `limits.tail`; `requests`: of all replicas.
    `all`: response times, from the beginning. `limits`: None until there are enough requests. `born`: the first second
    of each replica.
    """

    at: int = 0
    requests: tuple[int, ...] = ()
    failed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    slow: dict[str, tuple[int, ...]] = field(default_factory=dict)
    all: Side = field(default_factory=Side)
    limits: Limits | None = None
    born: dict[str, int] = field(default_factory=dict)

    def after(self, seconds: Sequence[Second], *, quantile: float, fewest: int) -> History:
        """Add seconds of stable. `fewest`: requests before a quantile is believed.

        After the clock was set back by a minute or less, seconds that the history has already do not count twice; after
        more, the history begins again.
        """
        if seconds and self.at - max(each.at for each in seconds) > MINUTE:
            empty = replace(self, at=0, requests=(), failed={}, slow={}, born={})
            return empty.after(seconds, quantile=quantile, fewest=fewest)
        seconds = [each for each in seconds if each.at > self.at]
        if not seconds:
            return self
        whole = self.all + sum((Side(requests=each.requests, times=each.times) for each in seconds), Side())
        limits = self.limits
        if limits is None and whole.requests >= fewest and sum(whole.times) > 0:
            limits = Limits.of(whole, quantile=quantile)
        last = max(each.at for each in seconds)
        length = len(self.requests)
        first = self.at - length + 1 if length else min(each.at for each in seconds)
        add = _Adding(first, last)
        slow = ((each.at, each.replica, limits.slow(each.times)) for each in seconds) if limits else ()
        total = add.to({"": self.requests}, ((each.at, "", each.requests) for each in seconds))
        return replace(
            self,
            at=last,
            requests=total[""],
            failed=add.to(self.failed, ((each.at, each.replica, each.first_failed) for each in seconds)),
            slow=add.to(self.slow, slow),
            all=whole,
            limits=limits,
            born={**{each.replica: each.at for each in sorted(seconds, key=lambda each: -each.at)}, **self.born},
        )

    def lived(self, counts: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
        """Cut series by replica to the time since a replica came, if it came late: it did not fail before, either.

        What the router answers itself (replica "") is counted from the beginning.
        """
        began = self.at - len(self.requests) + 1
        late = {name: at - began for name, at in self.born.items() if name and at - began > _LATE}
        return {name: each[late.get(name, 0) :] for name, each in counts.items()}

    def usual(self) -> dict[str, float]:
        """First failures of a quiet second, by replica."""
        return {name: windows.usual(counts) for name, counts in self.lived(self.failed).items()}

    def usual_slow(self) -> dict[str, float]:
        """Slow requests of a quiet second, by replica."""
        return {name: windows.usual(counts) for name, counts in self.lived(self.slow).items()}

    def worst(self, counts: Mapping[str, Sequence[int]]) -> float:
        """The largest share of requests, of these counts by replica, that any minute had."""
        summed = [sum(each) for each in zip(*counts.values(), strict=True)] or [0] * len(self.requests)
        length = min(MINUTE, len(summed))
        worst = 0.0
        bad, requests = sum(summed[:length]), sum(self.requests[:length])
        for start in range(len(summed) - length + 1):
            if requests >= _FEWEST:
                worst = max(worst, bad / requests)
            if start + length < len(summed):
                bad += summed[start + length] - summed[start]
                requests += self.requests[start + length] - self.requests[start]
        return worst


class _Adding:
    """Puts counts into series of equal length that end at `last`, of HISTORY seconds at most."""

    def __init__(self, first: int, last: int) -> None:
        self._first = max(first, last - HISTORY + 1)
        self._gone, self._length = self._first - first, last - self._first + 1

    def to(
        self, series: Mapping[str, Sequence[int]], counts: Iterable[tuple[int, str, int]]
    ) -> dict[str, tuple[int, ...]]:
        left = {name: values[self._gone :] for name, values in series.items()}
        whole = {name: [*values, *[0] * (self._length - len(values))] for name, values in left.items()}
        for at, name, count in counts:
            if self._first <= at:
                whole.setdefault(name, [0] * self._length)[at - self._first] += count
        return {name: tuple(values) for name, values in whole.items()}
