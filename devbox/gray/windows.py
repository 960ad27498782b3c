"""Running sums of both e-values over a release: closed blocks of 20 seconds, and the open block. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from devbox.gray import e_values
from devbox.gray.e_values import BLOCK, LEVELS, ODDS, WEIGHTS, WINDOWS, compute_log_mean
from devbox.model.frozen import dataclass

_ZEROS = (0.0,) * len(ODDS)
_USUAL = 0.9  # of a history's seconds, the quietest


class Values(NamedTuple):
    """Both e-values in nats, and the first one without the worst replica's worst 20 seconds."""

    same_time: float
    more_often: float
    rest: float


@dataclass(frozen=True, kw_only=True)
class TrafficSplit:
    """Traffic split of a comparison: the canary's share of both sides' buckets, and the replicas of both.

    `stables`: of the control, stable or its baseline. `whole`: both sides' share of all buckets; `before`: stable's
    replicas before the release, 0 if stable itself is the control.
    """

    share: float
    canaries: int
    stables: int
    whole: float = 1.0
    before: int = 0

    @classmethod
    def from_share(cls, share: float, *, canaries: int, stables: int, baselines: int | None = None) -> TrafficSplit:
        """Return the split for a canary with this share of all buckets.

        `baselines`: replicas of a baseline with as many buckets as the canary, or the rest; None without one. With all
        buckets on the canary, no control is left.
        """
        if baselines is None or share >= 1:
            return cls(share=share, canaries=canaries, stables=stables)
        both = share + min(share, 1 - share)
        return cls(share=share / both, canaries=canaries, stables=baselines, whole=both, before=stables)

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the traffic, regardless of replicas."""
        return self.share, self.whole

    @property
    def has_baseline(self) -> bool:
        """True if the control is a baseline, whose replicas are as new as the canary's."""
        return self.before > 0

    @property
    def relative_load(self) -> float:
        """Traffic of a canary replica relative to a replica of stable before the release."""
        return self.whole * self.share / self.canaries * (self.before or self.stables)

    @property
    def thinning(self) -> tuple[float, float, float]:
        """See `e_values.compute_thinning`."""
        return e_values.compute_thinning(
            self.share, canaries=self.canaries, stables=self.stables, whole=self.whole, before=self.before
        )


@dataclass(frozen=True, kw_only=True)
class Block:
    """Events of up to 20 seconds, by second of each replica. `once`: each client once."""

    seconds: int
    once: Mapping[str, Sequence[int]]
    canary: Mapping[str, Sequence[int]]
    stable: Mapping[str, Sequence[int]]
    stable_once: Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of closed blocks for one window size. By ODDS: `first`, and `earlier` of the second e-value.

    `worst`, too: the largest contribution of one replica to `first` in one block. `leasts`: failures of an incident,
    one number, or several with a baseline. For each, `hits` of the canary's `of` windows were incidents at the current
    share; `stable_hits` and `stable_of` for the control, with stable's history if stable is the control. `usual`:
    failures per second expected of a canary replica from stable's history.
    """

    first: tuple[float, ...] = _ZEROS
    worst: tuple[float, ...] = _ZEROS
    earlier: tuple[float, ...] = _ZEROS
    leasts: tuple[int, ...] = (1,)
    hits: tuple[float, ...] = (0.0,)
    of: int = 0
    stable_hits: tuple[float, ...] = (0.0,)
    stable_of: int = 0
    usual: float = 0.0

    def change_split(self, place: TrafficSplit, history: Mapping[str, Sequence[int]], *, size: int) -> Sums:
        """Start another share. The history is stable's: a baseline has none."""
        many = [compute_usual(each) for each in history.values()]
        often = place.relative_load * sum(many) / len(many) if many else 0.0
        if place.has_baseline:
            none = (0.0,) * len(LEVELS)
            begun = self.leasts == LEVELS
            earlier = _add(self.earlier, self.second) if begun else _ZEROS * len(LEVELS)
            return Sums(
                first=self.first,
                worst=self.worst,
                earlier=earlier,
                leasts=LEVELS,
                hits=none,
                stable_hits=none,
                usual=often,
            )
        counts: Counter[int] = Counter()
        for each in history.values():
            counts.update(_sum_windows(each[len(each) % size :], size))
        _, _, kept = place.thinning
        leasts = e_values.choose_thresholds(counts, kept=kept)
        return Sums(
            first=self.first,
            worst=self.worst,
            earlier=_add(self.earlier, self.second),
            leasts=leasts,
            hits=(0.0, 0.0),
            stable_hits=tuple(e_values.estimate_incidents(counts, least=each, kept=kept) for each in leasts),
            stable_of=counts.total(),
            usual=often,
        )

    def add_block(self, block: Block, place: TrafficSplit, *, size: int) -> Sums:
        """Add a block, which may be incomplete."""
        windows = -(-block.seconds // size)
        canaries, stables = max(place.canaries, len(block.canary)), max(place.stables, len(block.stable))
        own, control, _ = place.thinning
        summed = [sum(each) for each in zip(*block.stable_once.values(), strict=True)] or [0] * block.seconds
        first, worst = e_values.compare_same_time(
            block.once.values(), summed, replicas=canaries, share=place.share, size=size, usual=self.usual
        )
        return replace(
            self,
            first=_add(self.first, first),
            worst=tuple(map(max, self.worst, worst)),
            hits=_add(self.hits, self._count_incidents(block.canary, size, own)),
            of=self.of + windows * canaries,
            stable_hits=_add(self.stable_hits, self._count_incidents(block.stable, size, control)),
            stable_of=self.stable_of + (windows * stables if control else 0),
        )

    def _count_incidents(self, replicas: Mapping[str, Sequence[int]], size: int, kept: float) -> tuple[float, ...]:
        counts = Counter(count for each in replicas.values() for count in _sum_windows(each, size))
        return tuple(e_values.estimate_incidents(counts, least=least, kept=kept) for least in self.leasts)

    @property
    def second(self) -> tuple[float, ...]:
        """Second e-value at the current share by ODDS, and by `leasts` with a baseline.

        Without one: the number of incidents, and how many of them are large.
        """
        hits = tuple(zip(self.hits, self.stable_hits, strict=True))
        if self.leasts == LEVELS:
            found = (e_values.compare_frequency(own, self.of, other, self.stable_of) for own, other in hits)
            return tuple(value for each in found for value in each)
        (own, other), *large = hits
        often = e_values.compare_frequency(own, self.of, other, self.stable_of)
        size = (e_values.compare_sizes(part, own, other_part, other) for part, other_part in large)
        return tuple(sum(each) for each in zip(often, *size, strict=True))

    @property
    def values(self) -> Values:
        """Both e-values."""
        rest = tuple(first - worst for first, worst in zip(self.first, self.worst, strict=True))
        second = _add(self.earlier, self.second)
        weighed = _add(second, WEIGHTS) if self.leasts == LEVELS else second
        return Values(compute_log_mean(self.first), compute_log_mean(weighed), compute_log_mean(rest))


WindowSums = tuple[Sums, ...]  # for each of WINDOWS


def create_sums() -> WindowSums:
    """Return empty sums."""
    return (Sums(),) * len(WINDOWS)


def change_split(counted: WindowSums, place: TrafficSplit, history: Mapping[str, Sequence[int]]) -> WindowSums:
    """Start another share."""
    return tuple(each.change_split(place, history, size=size) for each, size in zip(counted, WINDOWS, strict=True))


def add_block(counted: WindowSums, block: Block, place: TrafficSplit) -> WindowSums:
    """Add a block of at most BLOCK seconds."""
    assert block.seconds <= BLOCK  # noqa: S101 - the caller limits the length
    return tuple(each.add_block(block, place, size=size) for each, size in zip(counted, WINDOWS, strict=True))


def compute_usual(history: Sequence[int]) -> float:
    """Return the failures per quiet second of a replica."""
    quiet = sorted(history)[: max(1, int(len(history) * _USUAL))]
    return sum(quiet) / len(quiet) if quiet else 0.0


def _sum_windows(counts: Sequence[int], size: int) -> list[int]:
    return [sum(counts[start : start + size]) for start in range(0, len(counts), size)]


def _add(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
