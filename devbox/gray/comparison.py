"""Comparison of both sides second by second: state between observations, and e-values. Pure.

Each second is added once and in order, so that a killed controller counts none twice. Closed blocks are kept as sums;
single seconds only of the last minute and of stable's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from devbox.gray import e_values, history, latency, windows
from devbox.gray.e_values import BLOCK, WINDOWS, Tally
from devbox.gray.history import FAILED, FIRST, FIRST_SLOW, KEPT, REQUESTS, SLOW, Counts, Moment, StableHistory
from devbox.gray.windows import TrafficSplit, Values, WindowSums
from devbox.model.frozen import dataclass
from devbox.model.traffic import BASELINE, CANARY, HISTORY, STABLE, Second

_NAMED = 4  # replicas in a sentence
_CHANGING = 2  # seconds after a change of the share with requests of the old one


@dataclass(frozen=True, kw_only=True)
class Bursts:
    """Seconds of unusually frequent failures of stable's replicas: running, by replica, and the longest."""

    usual: dict[str, float] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    longest: int = 0

    def add_second(
        self, counts: Mapping[str, int], *, follows: bool, others: Mapping[str, float] | None = None
    ) -> Bursts:
        """Add one second of each replica. `follows`: the second directly follows the last one.

        `others`: mean of the other replicas of the same age; events common to all are not a burst.
        """
        same = others or {}
        other = sum(self.usual.values()) / len(self.usual) if self.usual else 0.0
        running = {
            name: 1 + (self.running.get(name, 0) if follows else 0)
            for name, count in counts.items()
            if e_values.is_hot(count, max(self.usual.get(name, other), same.get(name, 0.0)))
        }
        return replace(self, running=running, longest=max(self.longest, *running.values(), 0))

    @classmethod
    def from_history(cls, history: Mapping[str, Sequence[int]], usual: dict[str, float]) -> Bursts:
        """Return the bursts of a history; series of equal length."""
        found = cls(usual=usual)
        for second in zip(*history.values(), strict=True):
            found = found.add_second(dict(zip(history, second, strict=True)), follows=True)
        return found


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """Both e-values of one kind of event, with the window required by stable's bursts."""

    counted: WindowSums = field(default_factory=windows.create_sums)
    bursts: Bursts = field(default_factory=Bursts)

    @property
    def fits(self) -> bool:
        """True if one of WINDOWS is long enough for stable's own bursts."""
        return e_values.choose_window(self.bursts.longest) is not None

    @property
    def window(self) -> int:
        """Index of the used window in WINDOWS."""
        found = e_values.choose_window(self.bursts.longest)
        return len(WINDOWS) - 1 if found is None else found


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of a release whose router counts by second.

    `until`: last second added. `since`: first second of the current share; `closed`: blocks since then that are in the
    sums. `served`, `born`: requests and first second of each new replica. `sides`: by side and replica since the first
    step, as in `moments`; `timed`: by side, requests with counted response times, and the slow ones. STABLE is the
    control: stable, or its baseline.
    """

    until: int = 0
    since: int = 0
    closed: int = 0
    place: TrafficSplit | None = None
    history: StableHistory = field(default_factory=StableHistory)
    moments: tuple[Moment, ...] = ()
    errors: MetricComparison = field(default_factory=MetricComparison)
    slow: MetricComparison = field(default_factory=MetricComparison)
    spread: latency.Logs = latency.NO_EVIDENCE
    served: dict[str, int] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)
    sides: dict[str, Counts] = field(default_factory=dict)
    timed: Counts = field(default_factory=dict)

    def add_warmup(self, seconds: Sequence[Second], *, quantile: float, fewest: int) -> Comparison:
        """Add seconds before the first step to stable's history."""
        new = [each for each in seconds if each.at > self.until]
        stable = [each for each in new if each.side == STABLE]
        until = max((each.at for each in new), default=self.until)
        return replace(self, until=until, history=self.history.add_seconds(stable, quantile=quantile, fewest=fewest))

    def change_split(self, place: TrafficSplit, *, since: float) -> Comparison:
        """Start another share, set in the router at `since`, or other numbers of replicas."""
        begun = self if self.place is not None else self._begin()
        begun = begun.close_open_block()
        past, same = begun.history, self.place is not None and self.place.shares == place.shares
        return replace(
            begun,
            place=place,
            since=int(since) + _CHANGING,
            closed=0,
            moments=begun.moments if same else (),
            errors=replace(
                begun.errors, counted=windows.change_split(begun.errors.counted, place, past.trim_series(past.failed))
            ),
            slow=replace(
                begun.slow, counted=windows.change_split(begun.slow.counted, place, past.trim_series(past.slow))
            ),
        )

    def resize(self, place: TrafficSplit, *, now: float) -> Comparison:
        """Apply other numbers of replicas at the same share after the open block.

        No second is lost, and no block is cut short: otherwise a flapping replica would start a block at each
        observation, few of its events would count, and each part of a burst would be a burst.
        """
        if self._open_length and now < self._block_start + BLOCK:
            return self
        return self.change_split(place, since=max(self.until + 1, self.since) - _CHANGING)

    def _begin(self) -> Comparison:
        past = self.history
        return replace(
            self,
            errors=MetricComparison(bursts=Bursts.from_history(past.failed, past.compute_usual())),
            slow=MetricComparison(bursts=Bursts.from_history(past.slow, past.compute_usual_slow())),
        )

    def reset(self) -> Comparison:
        """Drop the evidence so far."""
        return replace(
            self,
            place=None,
            moments=(),
            spread=latency.NO_EVIDENCE,
            sides={},
            errors=replace(self.errors, counted=windows.create_sums()),
            slow=replace(self.slow, counted=windows.create_sums()),
        )

    def skip(self, *, until: float) -> Comparison:
        """Skip the seconds until `until`, which had another share; the open block ends before them."""
        return replace(self.close_open_block(), since=int(until) + _CHANGING, closed=0, moments=())

    def adjust_clock(self, *, now: float) -> Comparison:
        """Continue after the clock was set back, with seconds before the last one added.

        A step of up to a minute is waited out: the router adds to its existing seconds, which would count twice.
        """
        if self.until <= now:  # but the current share may be newer
            return replace(self, since=min(self.since, int(now) + _CHANGING))
        again = self.until - 1 if self.until - now <= KEPT else now
        born = {name: min(at, int(now)) for name, at in self.born.items()}
        return replace(self.skip(until=again), until=int(now), born=born)

    def add_seconds(self, seconds: Sequence[Second], *, requests: int, warmup: float) -> Comparison:
        """Add seconds of the current share.

        Response times count after the first requests and seconds of each replica as new as the canary's.
        """
        control = BASELINE if self.place is not None and self.place.has_baseline else STABLE
        compared = [each for each in seconds if each.side in (CANARY, control)]
        new = [each for each in compared if each.at > self.until and each.at >= self.since]
        until = max((each.at for each in seconds), default=self.until)
        served, born, cold = dict(self.served), dict(self.born), set()
        for each in new:
            if each.side in (CANARY, BASELINE):
                born.setdefault(each.replica, each.at)
                if served.get(each.replica, 0) < requests or each.at - born[each.replica] < warmup:
                    cold.add((each.at, each.replica))
                served[each.replica] = served.get(each.replica, 0) + each.requests
        seen = replace(self, until=max(self.until, until), served=served, born=born)
        for moment in history.group_moments(new, limits=self.history.limits, cold=frozenset(cold)):
            seen = seen.add_moment(moment)
        return seen

    def add_moment(self, moment: Moment) -> Comparison:
        """Add one second, later than all others."""
        if moment.at - self._block_start > HISTORY:  # the clock was set or the host was suspended: nothing was observed
            return self.skip(until=moment.at - _CHANGING).add_moment(moment)
        seen = self
        while moment.at >= seen.since + (seen.closed + 1) * BLOCK:
            seen = seen._close_block(BLOCK)
        sides = {CANARY: moment.canary, STABLE: moment.stable}
        return replace(
            seen,
            moments=(*(each for each in seen.moments if each.at > moment.at - KEPT), moment),
            errors=self._add_burst(seen.errors, moment, FIRST),
            slow=self._add_burst(seen.slow, moment, SLOW),
            sides={side: history.sum_counts([seen.sides.get(side, {}), counts]) for side, counts in sides.items()},
            timed=history.sum_counts([seen.timed, moment.timed_counts]),
        )

    def _add_burst(self, metric: MetricComparison, moment: Moment, count: int) -> MetricComparison:
        """Add one second to the control's bursts."""
        counts, others = {name: each[count] for name, each in moment.stable.items()}, {}
        if self.place is not None and self.place.has_baseline:
            whole = sum(each[count] for side in (moment.canary, moment.stable) for each in side.values())
            many = self.place.canaries + self.place.stables - 1
            others = {name: (whole - own) / many for name, own in counts.items()}
        follows = not self.moments or self.moments[-1].at == moment.at - 1
        return replace(metric, bursts=metric.bursts.add_second(counts, follows=follows, others=others))

    def close_open_block(self) -> Comparison:
        """Close the open block, however short, and add it to the sums."""
        return self._close_block(self._open_length) if self.place is not None and self._open_length else self

    @property
    def _block_start(self) -> int:
        return self.since + self.closed * BLOCK

    @property
    def _open_length(self) -> int:
        """Length of the open block in seconds."""
        last = self.moments[-1].at if self.moments else 0
        return max(0, min(BLOCK, last - self._block_start + 1))

    def _close_block(self, length: int) -> Comparison:
        if self.place is None:
            return replace(self, closed=self.closed + 1)
        errors, slow = self._build_block(FIRST, FIRST, length), self._build_block(FIRST_SLOW, SLOW, length)
        return replace(
            self,
            closed=self.closed + 1,
            errors=replace(self.errors, counted=windows.add_block(self.errors.counted, errors, self.place)),
            slow=replace(self.slow, counted=windows.add_block(self.slow.counted, slow, self.place)),
            spread=self._compute_spread(length),
        )

    def _build_block(self, once: int, every: int, length: int) -> windows.Block:
        return history.build_block(self.moments, first=self._block_start, length=length, once=once, every=every)

    def _compute_spread(self, length: int) -> latency.Logs:
        """Return the sums of response times, including the open block's first seconds, in pairs."""
        limits, logs = self.history.limits, latency.pad_logs(self.spread)
        if limits is None:
            return logs
        zero = (0,) * (len(limits.classes) + 1)
        for pair in range(length // latency.PAIR):
            first = self._block_start + pair * latency.PAIR
            here = history.sum_counts(each.spread for each in self.moments if first <= each.at < first + latency.PAIR)
            added = latency.compare(here.get(CANARY, zero), here.get(STABLE, zero), limits)
            logs = tuple(a + b for a, b in zip(logs, added, strict=True))
        return logs

    def compute_error_evidence(self) -> Values:
        """Return both e-values of failures."""
        return self._compute_values(self.errors, FIRST, FIRST)

    def compute_slow_evidence(self) -> Values:
        """Return both e-values of slow requests."""
        return self._compute_values(self.slow, FIRST_SLOW, SLOW)

    def compute_spread_evidence(self) -> float:
        """Return the e-value of response times in general, in nats."""
        return latency.compute_log(self._compute_spread(self._open_length))

    def _compute_values(self, metric: MetricComparison, once: int, every: int) -> Values:
        sums = metric.counted[metric.window]
        if self.place is not None and self._open_length:
            sums = sums.add_block(
                self._build_block(once, every, self._open_length), self.place, size=WINDOWS[metric.window]
            )
        return sums.values

    def find_total_failure(self) -> str:
        """See `history.find_total_failure`."""
        if self.place is None or not self.moments:
            return ""
        now = self.moments[-1].at
        return history.find_total_failure(self.moments, now=now, since=self.since, replicas=self.place.canaries)

    def count_recent(self, count: int) -> Tally:
        """Return the canary's requests of the last minute at the current share, and those counted by `count`."""
        here = history.sum_counts(each.canary for each in self.moments).values()
        return Tally(requests=sum(each[REQUESTS] for each in here), bad=sum(each[count] for each in here))

    def count_total(self, side: str, count: int) -> Tally:
        """Return all requests of a side since the first step, and those counted by `count`."""
        found = self.sides.get(side, {}).values()
        return Tally(requests=sum(each[REQUESTS] for each in found), bad=sum(each[count] for each in found))

    @property
    def replicas_served(self) -> int:
        """Number of the canary's replicas that have responded since the first step."""
        return sum(1 for name in self.sides.get(CANARY, {}) if name)

    def count_timed(self, side: str) -> Tally:
        """Return the requests with counted response times, and the slow ones among them."""
        requests, slow = self.timed.get(side, (0, 0))
        return Tally(requests=requests, bad=slow)

    def describe_failures(self, side: str, count: int) -> str:
        """Describe a side's failed or slow requests, by client and replica: "4 clients; web1 3, web2 1"."""
        found = self.sides.get(side, {})
        most = sorted(found, key=lambda name: (-found[name][count], name))
        parts = [f"{name or 'the router'} {found[name][count]}" for name in most[:_NAMED]]
        more = [f"{len(most) - _NAMED} more"] if len(most) > _NAMED else []
        clients = sum(each[FIRST if count == FAILED else FIRST_SLOW] for each in found.values())
        return f"{clients} client{'' if clients == 1 else 's'}; {', '.join(parts + more)}"
