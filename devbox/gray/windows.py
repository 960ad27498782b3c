"""Both e-values over a release, as running sums: closed blocks of 20 seconds, and the one that is open. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from devbox.frozen import dataclass
from devbox.gray import incidents
from devbox.gray.evidence import ODDS, log_mean
from devbox.gray.incidents import BLOCK, WINDOWS

_NOTHING = (0.0,) * len(ODDS)
_HOT = 3  # standard deviations above stable's usual failures of a second
_USUAL = 0.9  # of the seconds of a history, the quietest


class Values(NamedTuple):
    """Both e-values in nats, and the first one without the worst 20 seconds of the worst replica."""

    same_time: float
    more_often: float
    rest: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a comparison is made: the canary's share of buckets, and the replicas of both sides."""

    share: float
    canaries: int
    stables: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """Events of up to 20 seconds, from its first one on: by second of each replica. `once`: each client once."""

    seconds: int
    once: Mapping[str, Sequence[int]]
    canary: Mapping[str, Sequence[int]]
    stable: Mapping[str, Sequence[int]]
    stable_once: Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What closed blocks come to, for one size of windows. By ODDS: `first`, and `earlier` of the second e-value.

    `worst`, too: the most that one replica has added to `first` in one block.
    At the present share `of` windows of the canary have had `hits` incidents, stable's, its history included, likewise.
    `least`: so many failures are an incident.
    """

    first: tuple[float, ...] = _NOTHING
    worst: tuple[float, ...] = _NOTHING
    earlier: tuple[float, ...] = _NOTHING
    least: int = 1
    hits: float = 0.0
    of: int = 0
    stable_hits: float = 0.0
    stable_of: int = 0

    def at(self, place: Place, history: Mapping[str, Sequence[int]], *, size: int) -> Sums:
        """At another share from now on."""
        counts: Counter[int] = Counter()
        for each in history.values():
            counts.update(_windows(each[len(each) % size :], size))
        _, _, kept = incidents.kept(place.share, canaries=place.canaries, stables=place.stables)
        least = incidents.threshold(counts, kept=kept)
        return Sums(
            first=self.first,
            worst=self.worst,
            earlier=_plus(self.earlier, self.second),
            least=least,
            stable_hits=incidents.expected(counts, least=least, kept=kept),
            stable_of=counts.total(),
        )

    def after(self, block: Block, place: Place, *, size: int) -> Sums:
        """With a block, which need not be whole."""
        windows = -(-block.seconds // size)
        canaries, stables = max(place.canaries, len(block.canary)), max(place.stables, len(block.stable))
        mine, beside, _ = incidents.kept(place.share, canaries=place.canaries, stables=place.stables)
        summed = [sum(each) for each in zip(*block.stable_once.values(), strict=True)] or [0] * block.seconds
        first, worst = incidents.same_time(
            (_windows(each, size) for each in block.once.values()),
            _windows(summed, size),
            replicas=canaries,
            share=place.share,
        )
        return replace(
            self,
            first=_plus(self.first, first),
            worst=tuple(map(max, self.worst, worst)),
            hits=self.hits + self._incidents(block.canary, size, mine),
            of=self.of + windows * canaries,
            stable_hits=self.stable_hits + self._incidents(block.stable, size, beside),
            stable_of=self.stable_of + (windows * stables if beside else 0),
        )

    def _incidents(self, replicas: Mapping[str, Sequence[int]], size: int, kept: float) -> float:
        counts = Counter(count for each in replicas.values() for count in _windows(each, size))
        return incidents.expected(counts, least=self.least, kept=kept)

    @property
    def second(self) -> tuple[float, ...]:
        """By ODDS, the second e-value at the present share."""
        return tuple(incidents.more_often(self.hits, self.of, self.stable_hits, self.stable_of))

    @property
    def values(self) -> Values:
        """Both e-values."""
        rest = tuple(first - worst for first, worst in zip(self.first, self.worst, strict=True))
        return Values(log_mean(self.first), log_mean(_plus(self.earlier, self.second)), log_mean(rest))


Counted = tuple[Sums, ...]  # for each of WINDOWS


def fresh() -> Counted:
    """Nothing counted yet."""
    return (Sums(),) * len(WINDOWS)


def at(counted: Counted, place: Place, history: Mapping[str, Sequence[int]]) -> Counted:
    """At another share from now on."""
    return tuple(each.at(place, history, size=size) for each, size in zip(counted, WINDOWS, strict=True))


def after(counted: Counted, block: Block, place: Place) -> Counted:
    """With a block of at most BLOCK seconds."""
    assert block.seconds <= BLOCK  # noqa: S101 - the caller cuts them
    return tuple(each.after(block, place, size=size) for each, size in zip(counted, WINDOWS, strict=True))


def usual(history: Sequence[int]) -> float:
    """Failures of a quiet second of a replica."""
    quiet = sorted(history)[: max(1, int(len(history) * _USUAL))]
    return sum(quiet) / len(quiet) if quiet else 0.0


def is_hot(count: int, usual: float) -> bool:
    """True if a replica fails much more often in a second than it usually does."""
    return count > 1 + usual + _HOT * float(usual**0.5)


def _windows(counts: Sequence[int], size: int) -> list[int]:
    return [sum(counts[start : start + size]) for start in range(0, len(counts), size)]


def _plus(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
