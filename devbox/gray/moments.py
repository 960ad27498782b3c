"""What both sides did in one second, as a comparison keeps it, and what is read from the last ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from devbox.frozen import dataclass
from devbox.gray.latency import Limits
from devbox.gray.windows import Block
from devbox.model.traffic import CANARY, STABLE, Second

KEPT = 60  # seconds
REQUESTS, FAILED, FIRST, SLOW, FIRST_SLOW = range(5)  # of a replica's counts
_FAST, _ALONE = 5, 20  # seconds in which everything failed; of one replica, whose bursts look the same
_FEWEST, _CLIENTS = 10, 3
_HALF = 0.5

Counts = dict[str, tuple[int, ...]]  # by replica


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One second, in seconds since the epoch. `stable`: the control, stable or its baseline.

    `spread`: by side, requests above limits (`Limits.above`), once warm.
    """

    at: int
    canary: Counts = field(default_factory=dict)
    stable: Counts = field(default_factory=dict)
    spread: Counts = field(default_factory=dict)

    @property
    def timed(self) -> Counts:
        """By side, requests whose response times count, and the slow ones among them."""
        slow = {CANARY: self.canary, STABLE: self.stable}
        return {
            side: (counts[0], sum(each[SLOW] for each in slow[side].values())) for side, counts in self.spread.items()
        }


def moments(seconds: Iterable[Second], *, limits: Limits | None, cold: frozenset[tuple[int, str]]) -> list[Moment]:
    """By second, oldest first, of the canary and its control. `cold`: replicas' seconds without response times."""
    found: dict[int, Moment] = {}
    for each in seconds:
        moment = found.setdefault(each.at, Moment(at=each.at))
        into = moment.canary if each.side == CANARY else moment.stable
        warm = limits is not None and (each.at, each.replica) not in cold
        slow = limits.slow(each.times) if limits is not None and warm else 0
        once = slow if each.first_slow is None else each.first_slow if warm else 0
        counts = (each.requests, each.failed, each.first_failed, slow, once)
        into[each.replica] = _plus(into.get(each.replica, ()), counts)
        if limits is not None and warm:
            side = CANARY if each.side == CANARY else STABLE
            moment.spread[side] = _plus(moment.spread.get(side, ()), limits.above(each.times))
    return [found[at] for at in sorted(found)]


def block(seconds: Sequence[Moment], *, first: int, length: int, once: int, every: int) -> Block:
    """Of so many seconds from `first` on: which of the counts to take, each client once, and each time."""
    here = [each for each in seconds if first <= each.at < first + length]

    def rows(side: str, count: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for moment in here:
            replicas: Mapping[str, tuple[int, ...]] = getattr(moment, side)
            for name, counts in replicas.items():
                found.setdefault(name, [0] * length)[moment.at - first] = counts[count]
        return found

    return Block(
        seconds=length,
        once=rows("canary", once),
        canary=rows("canary", every),
        stable=rows("stable", every),
        stable_once=rows("stable", once),
    )


def fails_entirely(seconds: Sequence[Moment], *, now: int, since: int, replicas: int) -> str:
    """What is wrong where every request of every canary replica failed for some seconds, and stable's did not; or "".

    `now`: the last complete second, `since`: the first that counts.
    """
    length = _ALONE if replicas == 1 else _FAST
    start = now - length + 1
    here = [each for each in seconds if each.at >= start]
    canary = total(each.canary for each in here)
    requests, failed, first = (sum(each[at] for each in canary.values()) for at in (REQUESTS, FAILED, FIRST))
    stable = total(each.stable for each in here).values()
    if start < since or requests < _FEWEST or failed < requests or len(canary) < replicas:
        return ""
    clients = max(first, sum(counts[FIRST] for each in seconds for counts in each.canary.values()))
    others, other_failed = (sum(each[at] for each in stable) for at in (REQUESTS, FAILED))
    if clients < _CLIENTS or other_failed >= _HALF * max(1, others):
        return ""
    return f"all {requests} requests of the canary failed for {length} s"


def total(parts: Iterable[Counts]) -> Counts:
    """Counts of several seconds together."""
    found: Counts = {}
    for part in parts:
        for name, counts in part.items():
            found[name] = _plus(found.get(name, ()), counts)
    return found


def _plus(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True)) if one else other
