"""The state of a gray release: phase, step, and what was counted so far. Pure; stored as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace

from devbox.frozen import dataclass
from devbox.gray import bounds
from devbox.gray.comparison import Comparison
from devbox.gray.evidence import Evidence, Tally
from devbox.gray.outside import Answers, Reading
from devbox.gray.policy import TRUST, Policy, Watch
from devbox.model.traffic import Batch, Side

# warm → step → hold → bake → stable; exits: aborting → aborted, needs_human. rehearsing: from the first step and back.
WARM, STEP, REHEARSING, HOLD, BAKE, STABLE = "warm", "step", "rehearsing", "hold", "bake", "stable"
ABORTING, ABORTED, NEEDS_HUMAN = "aborting", "aborted", "needs_human"
OVER = (STABLE, ABORTED)

LONGEST_LOOK = 10.0  # seconds between two looks that count at most: during the rest, nothing was observed
FEWEST_FOR_A_LIMIT = 200  # requests of stable before its quantile is believed


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one metric has seen, by step. `limit`: stable's frozen quantile in µs, of latency.

    `stable`: of the control, stable or its baseline.
    """

    limit: int | None = None
    evidence: Evidence = field(default_factory=Evidence)
    canary: tuple[Tally, ...] = ()
    stable: tuple[Tally, ...] = ()

    def counted(self, canary: tuple[int, int], stable: tuple[int, int], *, step: int) -> Judged:
        """With requests of a step, and the bad ones among them, which add no evidence here."""
        mine, other = (Tally(requests=requests, bad=bad) for requests, bad in (canary, stable))
        return replace(self, canary=_added(self.canary, mine, step), stable=_added(self.stable, other, step))

    def after(self, watch: Watch, batch: Batch, *, step: int) -> Judged:
        """With a batch of a step."""
        if watch.name == "latency" and self.limit is None:
            return self
        canary, stable = (_tally(side, watch, self.limit) for side in (batch.canary, batch.control))
        return replace(
            self,
            evidence=self.evidence.after(canary=canary, stable=stable),
            canary=_added(self.canary, canary, step),
            stable=_added(self.stable, stable, step),
        )

    @property
    def harm(self) -> float:
        """At most so much worse than stable is the canary: a difference of rates."""
        return bounds.harm(dict(enumerate(self.canary)), dict(enumerate(self.stable)), alpha=TRUST)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Where it stands. `watched`: seconds in this phase or step in which somebody looked; `reason`: why it is there.

    `warm` is stable's traffic before the first step. `before`: where a person is to lead it back to from needs_human.
    `entered`: when it came there, in seconds since the epoch. `outside`: what metrics from outside have said since.
    `compared`: both sides by second, None where the router does not count so. `generation`: see `Batch`; 0 before the
    first step. `trips`: how often the router has shut the canary out in this phase or step while stable served;
    `shut`: since when it has, None where it has not; `baseline_shut`: the same of the baseline.
    """

    phase: str = WARM
    step: int = -1
    held: bool = False
    rehearsed: bool = False
    before: str = ""
    reason: str = ""
    looked_at: float | None = None  # seconds since the epoch
    watched: float = 0.0
    entered: float = 0.0
    warm: Side = field(default_factory=Side)
    baking: Tally = field(default_factory=Tally)
    judged: dict[str, Judged]
    outside: dict[str, Answers] = field(default_factory=dict)
    compared: Comparison | None = None
    generation: int = 0
    trips: int = 0
    shut: float | None = None
    baseline_shut: float | None = None

    @classmethod
    def begin(cls, policy: Policy) -> Rollout:
        """Nothing seen yet."""
        return cls(judged={watch.name: Judged() for watch in policy.watches})

    def enter(self, phase: str, reason: str, *, step: int | None = None) -> Rollout:
        """In another phase or step, from now on."""
        return replace(
            self,
            phase=phase,
            reason=reason,
            step=self.step if step is None else step,
            watched=0.0,
            entered=self.looked_at or 0.0,
            before="",
            outside={},
            trips=0,
            shut=None,
            generation=self._next() if phase == BAKE or (phase == STEP and not self.generation) else self.generation,
        )

    def _next(self) -> int:
        """The number of another generation of clients, later than the present one."""
        return max(self.generation + 1, int(self.looked_at or 0))

    def after(self, batch: Batch, policy: Policy, *, now: float) -> Rollout:
        """Add what was counted since the last look, and the time that has passed."""
        since = 0.0 if self.looked_at is None else min(max(0.0, now - self.looked_at), LONGEST_LOOK)
        kept = self._set_back(now) if now < (self.looked_at or 0.0) else self
        seen = replace(kept, looked_at=now, watched=self.watched + since)
        if self.phase == WARM:
            return _warmed(seen, batch, policy)
        if self.phase == BAKE:
            return replace(seen, baking=self.baking + _errors(batch.canary))
        if self.phase in (STEP, HOLD, NEEDS_HUMAN) and self.step >= 0:
            by_side = [watch for watch in policy.watches if watch.name != "latency" or self.compared is None]
            judged = {watch.name: self.judged[watch.name].after(watch, batch, step=self.step) for watch in by_side}
            return replace(seen, judged={**self.judged, **judged})
        return seen

    def _set_back(self, now: float) -> Rollout:
        """Adapt to a clock that was set back: no stored time is later than now."""
        shut, baseline_shut = (None if at is None else min(at, now) for at in (self.shut, self.baseline_shut))
        compared = self.compared.set_back(now=now) if self.compared else None
        entered = min(self.entered, now)
        return replace(self, entered=entered, shut=shut, baseline_shut=baseline_shut, compared=compared)

    def shut_out(self, *, tripped: bool, reopened: bool, stable_fails: bool) -> Rollout:
        """Record whether the router has shut the canary out. `reopened`: it had let requests in again since.

        `stable_fails`: stable fails as well, so that this says nothing against the canary, which is opened again.
        """
        if not tripped:
            return replace(self, shut=None)
        if self.shut is not None and not reopened:
            return self
        return replace(self, trips=self.trips + (not stable_fails), shut=self.looked_at)

    def told(self, readings: Iterable[Reading], policy: Policy) -> Rollout:
        """Add what metrics from outside said. Ignore answers to questions from before the present phase or step."""
        outside = dict(self.outside)
        for reading in readings:
            metric = next((each for each in policy.outside if each.name == reading.name), None)
            if metric is not None and reading.began >= self.entered:
                outside[metric.name] = outside.get(metric.name, Answers()).after(metric, reading)
        return replace(self, outside=outside)

    def trusted_again(self) -> Rollout:
        """Return from needs_human to the state before, without the evidence: a person has seen it, and resumed."""
        judged = {name: replace(seen, evidence=Evidence()) for name, seen in self.judged.items()}
        compared = self.compared.anew() if self.compared else None
        resumed = self.enter(self.before, "resumed")
        return replace(resumed, judged=judged, compared=compared, generation=resumed._next())  # noqa: SLF001 - its own

    def here(self, name: str) -> tuple[Tally, Tally]:
        """Canary and stable of a metric at the present step."""
        seen = self.judged[name]
        return _at(seen.canary, self.step), _at(seen.stable, self.step)

    @property
    def requests(self) -> int:
        """Of the canary, at the present step."""
        return max((self.here(name)[0].requests for name in self.judged), default=0)


def _tally(side: Side, watch: Watch, limit: int | None) -> Tally:
    if watch.name == "latency" and limit is not None:
        return Tally(requests=side.requests, bad=min(side.requests, side.slower_than(limit)))
    return _errors(side)


def _errors(side: Side) -> Tally:
    return Tally(requests=side.requests, bad=min(side.requests, side.errors))


def _added(tallies: tuple[Tally, ...], more: Tally, step: int) -> tuple[Tally, ...]:
    whole = [*tallies, *(Tally() for _ in range(step + 1 - len(tallies)))]
    whole[step] += more
    return tuple(whole)


def _at(tallies: tuple[Tally, ...], step: int) -> Tally:
    return tallies[step] if 0 <= step < len(tallies) else Tally()


def _warmed(seen: Rollout, batch: Batch, policy: Policy) -> Rollout:
    warm = seen.warm + batch.stable
    enough = warm.requests >= FEWEST_FOR_A_LIMIT
    judged = {
        watch.name: replace(seen.judged[watch.name], limit=warm.quantile(watch.quantile))
        if enough and watch.name == "latency"
        else seen.judged[watch.name]
        for watch in policy.watches
    }
    return replace(seen, warm=warm, judged=judged)
