"""Both sides compared second by second: the state between two looks, and its e-values. Pure.

Each second is added once and in order, so that a controller which is killed counts none twice. Closed blocks are kept
as sums; single seconds only of the last minute, and of stable's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from devbox.frozen import dataclass
from devbox.gray import incidents, latency, moments, windows
from devbox.gray.evidence import Tally
from devbox.gray.history import History
from devbox.gray.incidents import BLOCK, WINDOWS
from devbox.gray.moments import FAILED, FIRST, FIRST_SLOW, KEPT, REQUESTS, SLOW, Counts, Moment
from devbox.gray.windows import Counted, Place, Values
from devbox.model.traffic import BASELINE, CANARY, HISTORY, STABLE, Second

_NAMED = 4  # replicas in a sentence
_CHANGING = 2  # seconds after a change of the share in which some requests are still of the old one


@dataclass(frozen=True, kw_only=True)
class Bursts:
    """How long a replica of stable failed unusually often, in seconds: now, by replica, and at the longest."""

    usual: dict[str, float] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    longest: int = 0

    def after(self, counts: Mapping[str, int], *, follows: bool, others: Mapping[str, float] | None = None) -> Bursts:
        """Add one second of each replica. `follows`: it comes right after the last one.

        `others`: the mean of the other replicas of the same age; events that all of them have are not a burst.
        """
        same = others or {}
        other = sum(self.usual.values()) / len(self.usual) if self.usual else 0.0
        running = {
            name: 1 + (self.running.get(name, 0) if follows else 0)
            for name, count in counts.items()
            if incidents.is_hot(count, max(self.usual.get(name, other), same.get(name, 0.0)))
        }
        return replace(self, running=running, longest=max(self.longest, *running.values(), 0))

    @classmethod
    def of(cls, history: Mapping[str, Sequence[int]], usual: dict[str, float]) -> Bursts:
        """With those of a history; series of equal length."""
        found = cls(usual=usual)
        for second in zip(*history.values(), strict=True):
            found = found.after(dict(zip(history, second, strict=True)), follows=True)
        return found


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The two e-values of one kind of event, at the window that stable's bursts call for."""

    counted: Counted = field(default_factory=windows.fresh)
    bursts: Bursts = field(default_factory=Bursts)

    @property
    def fits(self) -> bool:
        """True if one of WINDOWS is long enough for stable's own bursts."""
        return incidents.window(self.bursts.longest) is not None

    @property
    def window(self) -> int:
        """The place of the window in use among WINDOWS."""
        found = incidents.window(self.bursts.longest)
        return len(WINDOWS) - 1 if found is None else found


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of a release whose router counts by second.

    `until`: the last second that was taken in. `since`: the first that counts at the present share; `closed`: blocks
    from there on that are in the sums. `served`, `born`: requests of each new replica, and its first second.
    `sides`: by side and replica, from the first step on, as in `moments`; `timed`: by side, requests whose response
    times count, and the slow ones among them. STABLE is the control in all of these: stable, or its baseline.
    """

    until: int = 0
    since: int = 0
    closed: int = 0
    place: Place | None = None
    history: History = field(default_factory=History)
    moments: tuple[Moment, ...] = ()
    errors: Metric = field(default_factory=Metric)
    slow: Metric = field(default_factory=Metric)
    spread: latency.Logs = latency.NOTHING
    served: dict[str, int] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)
    sides: dict[str, Counts] = field(default_factory=dict)
    timed: Counts = field(default_factory=dict)

    def warmed(self, seconds: Sequence[Second], *, quantile: float, fewest: int) -> Comparison:
        """Add seconds before the first step to stable's history."""
        new = [each for each in seconds if each.at > self.until]
        stable = [each for each in new if each.side == STABLE]
        until = max((each.at for each in new), default=self.until)
        return replace(self, until=until, history=self.history.after(stable, quantile=quantile, fewest=fewest))

    def at(self, place: Place, *, since: float) -> Comparison:
        """At another share, which the router was given at this time (`since`), or with other numbers of replicas."""
        begun = self if self.place is not None else self._begun()
        begun = begun.closed_off()
        past, same = begun.history, self.place is not None and self.place.shares == place.shares
        return replace(
            begun,
            place=place,
            since=int(since) + _CHANGING,
            closed=0,
            moments=begun.moments if same else (),
            errors=replace(begun.errors, counted=windows.at(begun.errors.counted, place, past.lived(past.failed))),
            slow=replace(begun.slow, counted=windows.at(begun.slow.counted, place, past.lived(past.slow))),
        )

    def resized(self, place: Place, *, now: float) -> Comparison:
        """With other numbers of replicas at the same share, from the end of the open block on.

        No second is lost, and no block is cut short: a replica that comes and goes would begin one at each look, so
        that little of what it does would count, and each part of a burst as a burst of its own.
        """
        if self._open and now < self._first + BLOCK:
            return self
        return self.at(place, since=max(self.until + 1, self.since) - _CHANGING)

    def _begun(self) -> Comparison:
        past = self.history
        return replace(
            self,
            errors=Metric(bursts=Bursts.of(past.failed, past.usual())),
            slow=Metric(bursts=Bursts.of(past.slow, past.usual_slow())),
        )

    def anew(self) -> Comparison:
        """Drop the evidence so far."""
        return replace(
            self,
            place=None,
            moments=(),
            spread=latency.NOTHING,
            sides={},
            errors=replace(self.errors, counted=windows.fresh()),
            slow=replace(self.slow, counted=windows.fresh()),
        )

    def skipped(self, *, until: float) -> Comparison:
        """Leave out the seconds until then, in which the share was another one; the open block ends before them."""
        return replace(self.closed_off(), since=int(until) + _CHANGING, closed=0, moments=())

    def set_back(self, *, now: float) -> Comparison:
        """Go on after the clock was set back, with seconds that are earlier than the last one taken in.

        Not after a step of a minute or less: the router adds to the seconds that it has, so that they would count
        twice; they are waited for.
        """
        if self.until <= now:  # but the present share may be newer
            return replace(self, since=min(self.since, int(now) + _CHANGING))
        again = self.until - 1 if self.until - now <= KEPT else now
        born = {name: min(at, int(now)) for name, at in self.born.items()}
        return replace(self.skipped(until=again), until=int(now), born=born)

    def after(self, seconds: Sequence[Second], *, requests: int, warmup: float) -> Comparison:
        """Add seconds at the present share.

        Response times count after the first requests and seconds of each replica that is as new as the canary's.
        """
        control = BASELINE if self.place is not None and self.place.fresh else STABLE
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
        for moment in moments.moments(new, limits=self.history.limits, cold=frozenset(cold)):
            seen = seen.with_moment(moment)
        return seen

    def with_moment(self, moment: Moment) -> Comparison:
        """Add one second, later than all others."""
        if moment.at - self._first > HISTORY:  # the clock was set, or the machine slept: nothing was to be seen
            return self.skipped(until=moment.at - _CHANGING).with_moment(moment)
        seen = self
        while moment.at >= seen.since + (seen.closed + 1) * BLOCK:
            seen = seen._closed(BLOCK)
        sides = {CANARY: moment.canary, STABLE: moment.stable}
        return replace(
            seen,
            moments=(*(each for each in seen.moments if each.at > moment.at - KEPT), moment),
            errors=self._with_burst(seen.errors, moment, FIRST),
            slow=self._with_burst(seen.slow, moment, SLOW),
            sides={side: moments.total([seen.sides.get(side, {}), counts]) for side, counts in sides.items()},
            timed=moments.total([seen.timed, moment.timed]),
        )

    def _with_burst(self, metric: Metric, moment: Moment, count: int) -> Metric:
        """Add one second to the bursts of the control."""
        counts, others = {name: each[count] for name, each in moment.stable.items()}, {}
        if self.place is not None and self.place.fresh:
            whole = sum(each[count] for side in (moment.canary, moment.stable) for each in side.values())
            many = self.place.canaries + self.place.stables - 1
            others = {name: (whole - mine) / many for name, mine in counts.items()}
        follows = not self.moments or self.moments[-1].at == moment.at - 1
        return replace(metric, bursts=metric.bursts.after(counts, follows=follows, others=others))

    def closed_off(self) -> Comparison:
        """Close the open block, however short: add it to the sums."""
        return self._closed(self._open) if self.place is not None and self._open else self

    @property
    def _first(self) -> int:
        return self.since + self.closed * BLOCK

    @property
    def _open(self) -> int:
        """Seconds of the open block."""
        last = self.moments[-1].at if self.moments else 0
        return max(0, min(BLOCK, last - self._first + 1))

    def _closed(self, length: int) -> Comparison:
        if self.place is None:
            return replace(self, closed=self.closed + 1)
        errors, slow = self._block(FIRST, FIRST, length), self._block(FIRST_SLOW, SLOW, length)
        return replace(
            self,
            closed=self.closed + 1,
            errors=replace(self.errors, counted=windows.after(self.errors.counted, errors, self.place)),
            slow=replace(self.slow, counted=windows.after(self.slow.counted, slow, self.place)),
            spread=self._spread(length),
        )

    def _block(self, once: int, every: int, length: int) -> windows.Block:
        return moments.block(self.moments, first=self._first, length=length, once=once, every=every)

    def _spread(self, length: int) -> latency.Logs:
        """The sums of response times with the first seconds of the open block, in pairs."""
        limits, logs = self.history.limits, latency.completed(self.spread)
        if limits is None:
            return logs
        zero = (0,) * (len(limits.classes) + 1)
        for pair in range(length // latency.PAIR):
            first = self._first + pair * latency.PAIR
            here = moments.total(each.spread for each in self.moments if first <= each.at < first + latency.PAIR)
            added = latency.compare(here.get(CANARY, zero), here.get(STABLE, zero), limits)
            logs = tuple(a + b for a, b in zip(logs, added, strict=True))
        return logs

    def errors_against(self) -> Values:
        """Both e-values of failures."""
        return self._values(self.errors, FIRST, FIRST)

    def slow_against(self) -> Values:
        """Both e-values of slow requests."""
        return self._values(self.slow, FIRST_SLOW, SLOW)

    def spread_against(self) -> float:
        """The e-value of response times in general, in nats."""
        return latency.log(self._spread(self._open))

    def _values(self, metric: Metric, once: int, every: int) -> Values:
        sums = metric.counted[metric.window]
        if self.place is not None and self._open:
            sums = sums.after(self._block(once, every, self._open), self.place, size=WINDOWS[metric.window])
        return sums.values

    def fails_entirely(self) -> str:
        """See `moments.fails_entirely`."""
        if self.place is None or not self.moments:
            return ""
        now = self.moments[-1].at
        return moments.fails_entirely(self.moments, now=now, since=self.since, replicas=self.place.canaries)

    def lately(self, count: int) -> Tally:
        """The canary's requests of the last minute at the present share, and those of them that this counts."""
        here = moments.total(each.canary for each in self.moments).values()
        return Tally(requests=sum(each[REQUESTS] for each in here), bad=sum(each[count] for each in here))

    def whole(self, side: str, count: int) -> Tally:
        """All requests of a side since the first step, and those of them that this counts."""
        found = self.sides.get(side, {}).values()
        return Tally(requests=sum(each[REQUESTS] for each in found), bad=sum(each[count] for each in found))

    @property
    def served_by(self) -> int:
        """How many replicas of the canary have answered since the first step."""
        return sum(1 for name in self.sides.get(CANARY, {}) if name)

    def warm(self, side: str) -> Tally:
        """Requests whose response times count, and the slow ones among them."""
        requests, slow = self.timed.get(side, (0, 0))
        return Tally(requests=requests, bad=slow)

    def described(self, side: str, count: int) -> str:
        """Clients, and the replicas it was most: "4 clients; web1 3, web2 1"; of failed or slow requests of a side."""
        found = self.sides.get(side, {})
        most = sorted(found, key=lambda name: (-found[name][count], name))
        parts = [f"{name or 'the router'} {found[name][count]}" for name in most[:_NAMED]]
        more = [f"{len(most) - _NAMED} more"] if len(most) > _NAMED else []
        clients = sum(each[FIRST if count == FAILED else FIRST_SLOW] for each in found.values())
        return f"{clients} client{'' if clients == 1 else 's'}; {', '.join(parts + more)}"
