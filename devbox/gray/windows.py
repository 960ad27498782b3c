"""Both e-values over a release, as running sums: closed blocks of 20 seconds, and the one that is open. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from devbox.gray import e_values
from devbox.gray.e_values import BLOCK, LEVELS, ODDS, WEIGHTS, WINDOWS, compute_log_mean
from devbox.model.frozen import dataclass

_NOTHING = (0.0,) * len(ODDS)
_USUAL = 0.9  # of the seconds of a history, the quietest


class Values(NamedTuple):
    """Both e-values in nats, and the first one without the worst 20 seconds of the worst replica."""

    same_time: float
    more_often: float
    rest: float


@dataclass(frozen=True, kw_only=True)
class TrafficSplit:
    """Where a comparison is made: the canary's share of the buckets of both, and the replicas of both.

    `stables`: of stable, or of its baseline, the control. `whole`: the share that both have of all buckets; `before`:
    stable's replicas before the release, 0 where stable itself is the control.
    """

    share: float
    canaries: int
    stables: int
    whole: float = 1.0
    before: int = 0

    @classmethod
    def from_share(cls, share: float, *, canaries: int, stables: int, baselines: int | None = None) -> TrafficSplit:
        """Where the canary has this share of all buckets.

        `baselines`: replicas of a baseline that has as many buckets as the canary, or the rest; None without one. With
        all buckets at the canary there is no control.
        """
        if baselines is None or share >= 1:
            return cls(share=share, canaries=canaries, stables=stables)
        both = share + min(share, 1 - share)
        return cls(share=share / both, canaries=canaries, stables=baselines, whole=both, before=stables)

    @property
    def shares(self) -> tuple[float, float]:
        """Where the traffic goes, whatever replicas there are."""
        return self.share, self.whole

    @property
    def has_baseline(self) -> bool:
        """True if the control is a baseline, whose replicas are as new as the canary's."""
        return self.before > 0

    @property
    def relative_load(self) -> float:
        """The traffic of a replica of the canary, as a multiple of that of stable's before the release."""
        return self.whole * self.share / self.canaries * (self.before or self.stables)

    @property
    def thinning(self) -> tuple[float, float, float]:
        """See `incidents.kept`."""
        return e_values.compute_thinning(
            self.share, canaries=self.canaries, stables=self.stables, whole=self.whole, before=self.before
        )


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

    `worst`, too: the most that one replica has added to `first` in one block. So many failures as `leasts` says are an
    incident: one number, or several with a baseline. By these, `of` windows of the canary have had `hits` incidents at
    the present share, and those of the control, with stable's history where stable is the control, likewise. `usual`:
    failures of a second of a replica of the canary, were it as stable in its history.
    """

    first: tuple[float, ...] = _NOTHING
    worst: tuple[float, ...] = _NOTHING
    earlier: tuple[float, ...] = _NOTHING
    leasts: tuple[int, ...] = (1,)
    hits: tuple[float, ...] = (0.0,)
    of: int = 0
    stable_hits: tuple[float, ...] = (0.0,)
    stable_of: int = 0
    usual: float = 0.0

    def change_split(self, place: TrafficSplit, history: Mapping[str, Sequence[int]], *, size: int) -> Sums:
        """At another share from now on. The history is of stable: of a baseline there is none."""
        many = [compute_usual(each) for each in history.values()]
        often = place.relative_load * sum(many) / len(many) if many else 0.0
        if place.has_baseline:
            none = (0.0,) * len(LEVELS)
            begun = self.leasts == LEVELS
            earlier = _add(self.earlier, self.second) if begun else _NOTHING * len(LEVELS)
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
        """With a block, which need not be whole."""
        windows = -(-block.seconds // size)
        canaries, stables = max(place.canaries, len(block.canary)), max(place.stables, len(block.stable))
        mine, control, _ = place.thinning
        summed = [sum(each) for each in zip(*block.stable_once.values(), strict=True)] or [0] * block.seconds
        first, worst = e_values.compare_same_time(
            block.once.values(),
            summed,
            replicas=canaries,
            share=place.share,
            size=size,
            usual=self.usual,
        )
        return replace(
            self,
            first=_add(self.first, first),
            worst=tuple(map(max, self.worst, worst)),
            hits=_add(self.hits, self._count_incidents(block.canary, size, mine)),
            of=self.of + windows * canaries,
            stable_hits=_add(self.stable_hits, self._count_incidents(block.stable, size, control)),
            stable_of=self.stable_of + (windows * stables if control else 0),
        )

    def _count_incidents(self, replicas: Mapping[str, Sequence[int]], size: int, kept: float) -> tuple[float, ...]:
        counts = Counter(count for each in replicas.values() for count in _sum_windows(each, size))
        return tuple(e_values.estimate_incidents(counts, least=least, kept=kept) for least in self.leasts)

    @property
    def second(self) -> tuple[float, ...]:
        """By ODDS, and by `leasts` with a baseline, the second e-value at the present share.

        Without one: how many windows are incidents, and how many of these are large.
        """
        hits = tuple(zip(self.hits, self.stable_hits, strict=True))
        if self.leasts == LEVELS:
            found = (e_values.compare_frequency(mine, self.of, other, self.stable_of) for mine, other in hits)
            return tuple(value for each in found for value in each)
        (mine, other), *large = hits
        often = e_values.compare_frequency(mine, self.of, other, self.stable_of)
        size = (e_values.compare_sizes(part, mine, other_part, other) for part, other_part in large)
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
    """Nothing counted yet."""
    return (Sums(),) * len(WINDOWS)


def change_split(counted: WindowSums, place: TrafficSplit, history: Mapping[str, Sequence[int]]) -> WindowSums:
    """At another share from now on."""
    return tuple(each.change_split(place, history, size=size) for each, size in zip(counted, WINDOWS, strict=True))


def add_block(counted: WindowSums, block: Block, place: TrafficSplit) -> WindowSums:
    """With a block of at most BLOCK seconds."""
    assert block.seconds <= BLOCK  # noqa: S101 - the caller cuts them
    return tuple(each.add_block(block, place, size=size) for each, size in zip(counted, WINDOWS, strict=True))


def compute_usual(history: Sequence[int]) -> float:
    """Failures of a quiet second of a replica."""
    quiet = sorted(history)[: max(1, int(len(history) * _USUAL))]
    return sum(quiet) / len(quiet) if quiet else 0.0


def _sum_windows(counts: Sequence[int], size: int) -> list[int]:
    return [sum(counts[start : start + size]) for start in range(0, len(counts), size)]


def _add(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
