"""State of a gray release: phase, step, counts and readings so far. Pure; stored as JSON.

An external metric is compared with limits at each reading. A limit is not a statistical test and uses no part of alpha.
A missing sample is not a success.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import field, replace

from devbox.gray.comparison import Comparison
from devbox.gray.e_values import Evidence, Tally, bound_harm
from devbox.gray.policy import TRUST, Policy, WatchedMetric
from devbox.model.frozen import dataclass
from devbox.model.stage import ExternalMetric
from devbox.model.traffic import Batch, Side

_LATE = 5.0  # seconds that a reading may be late
# warm → step → hold → bake → stable; exits: aborting → aborted, needs_human. rehearsing: first step, back and forth.
WARM, STEP, REHEARSING, HOLD, BAKE, STABLE = "warm", "step", "rehearsing", "hold", "bake", "stable"
ABORTING, ABORTED, NEEDS_HUMAN = "aborting", "aborted", "needs_human"
OVER = (STABLE, ABORTED)

HELD = "held"  # reason while an operator holds the release
_WAITS = "waits "  # start of the reason of any other wait
COMPLETION = "for the promotion that completes it"

LONGEST_LOOK = 10.0  # maximum seconds counted between two observations: the rest was not observed
FEWEST_FOR_A_LIMIT = 200  # requests of stable required for its quantile


class WaitKind(enum.Enum):
    """Kind of wait that a reason describes; records store the text only."""

    NONE = enum.auto()  # no wait, or held
    COMPLETION = enum.auto()  # the promotion that completes the release
    CONDITION = enum.auto()  # time, requests, certainty, health, or an external metric


def format_wait(condition: str) -> str:
    """Return the reason of a wait for a condition: `waits for …`."""
    return f"{_WAITS}{condition}"


def classify_reason(reason: str) -> WaitKind:
    """Return the kind of wait that a reason describes."""
    if not reason.startswith(_WAITS):
        return WaitKind.NONE
    return WaitKind.COMPLETION if reason == format_wait(COMPLETION) else WaitKind.CONDITION


@dataclass(frozen=True, kw_only=True)
class MetricReading:
    """One reading. `began`: when it was requested, in seconds since the epoch.

    `value` None: a yes/no answer. `trouble`: why an answer is missing; "" otherwise.
    """

    name: str
    began: float
    value: float | None = None
    no: bool = False
    said: str = ""
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Readings of a metric in the current step. `row`: consecutive bad readings, including the last one.

    `good`: request time of the last reading if it was good. `last`: its short description.
    """

    row: int = 0
    good: float | None = None
    last: str = ""
    value: float | None = None

    def add_reading(self, metric: ExternalMetric, reading: MetricReading) -> Answers:
        """Add a reading. A missing sample counts neither for nor against the release."""
        if reading.trouble:
            return replace(self, good=None, last=reading.trouble, value=None)
        fault = _find_fault(metric, reading)
        if fault:
            return Answers(row=self.row + 1, last=fault, value=reading.value)
        return Answers(
            good=reading.began, last="" if reading.value is None else f"{reading.value:g}", value=reading.value
        )


def find_alarm(metric: ExternalMetric, answers: Answers) -> str:
    """Return why the release must be rolled back; "" if none."""
    if answers.row < metric.failures:
        return ""
    times = f", {answers.row} times in a row" if metric.failures > 1 else ""
    return f"{metric.name}: {answers.last}{times}"


def find_missing(metric: ExternalMetric, answers: Answers, *, now: float) -> str:
    """Return what blocks the next step; "" if the last reading was good and is fresh."""
    if answers.row:
        return f"for {metric.name}, which is bad: {answers.last}"
    if answers.good is None:
        return f"for {metric.name}: {answers.last or 'no answer yet'}"
    if now - answers.good > metric.every + 2 * metric.timeout + _LATE:
        return f"for {metric.name}: no answer in {now - answers.good:.0f} s"
    return ""


def _find_fault(metric: ExternalMetric, reading: MetricReading) -> str:
    if reading.no:
        return f"answered no{f': {reading.said}' if reading.said else ''}"
    if reading.value is None:
        return ""
    if metric.most is not None and reading.value > metric.most:
        return f"{reading.value:g} is above {metric.most:g}"
    if metric.least is not None and reading.value < metric.least:
        return f"{reading.value:g} is below {metric.least:g}"
    return ""


@dataclass(frozen=True, kw_only=True)
class JudgedMetric:
    """Counts of one metric by step. `limit`: stable's frozen latency quantile in µs.

    `stable`: of the control, stable or its baseline.
    """

    limit: int | None = None
    evidence: Evidence = field(default_factory=Evidence)
    canary: tuple[Tally, ...] = ()
    stable: tuple[Tally, ...] = ()

    def add_requests(self, canary: tuple[int, int], stable: tuple[int, int], *, step: int) -> JudgedMetric:
        """Add a step's requests, and the bad ones among them, without evidence."""
        own, other = (Tally(requests=requests, bad=bad) for requests, bad in (canary, stable))
        return replace(self, canary=_add_tally(self.canary, own, step), stable=_add_tally(self.stable, other, step))

    def add_batch(self, watch: WatchedMetric, batch: Batch, *, step: int) -> JudgedMetric:
        """Add a batch of a step."""
        if watch.name == "latency" and self.limit is None:
            return self
        canary, stable = (_count_side(side, watch, self.limit) for side in (batch.canary, batch.control))
        return replace(
            self,
            evidence=self.evidence.add_batch(canary=canary, stable=stable),
            canary=_add_tally(self.canary, canary, step),
            stable=_add_tally(self.stable, stable, step),
        )

    @property
    def harm(self) -> float:
        """Upper bound of the canary's excess rate over stable."""
        return bound_harm(dict(enumerate(self.canary)), dict(enumerate(self.stable)), alpha=TRUST)


@dataclass(frozen=True, kw_only=True)
class GrayState:
    """Current state. `watched`: observed seconds of this phase or step; `reason`: of the last change.

    `warm` is stable's traffic before the first step. `before`: state to resume from needs_human. `entered`: start of
    the phase or step, in seconds since the epoch. `outside`: readings of external metrics since then. `compared`:
    comparison by second, None without such counts. `generation`: see `Batch`; 0 before the first step. `trips`: how
    often the router has shut the canary out in this phase or step while stable served; `shut`: since when, or None;
    `baseline_shut`: the same of the baseline.
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
    judged: dict[str, JudgedMetric]
    outside: dict[str, Answers] = field(default_factory=dict)
    compared: Comparison | None = None
    generation: int = 0
    trips: int = 0
    shut: float | None = None
    baseline_shut: float | None = None

    @classmethod
    def begin(cls, policy: Policy) -> GrayState:
        """Return the initial state."""
        return cls(judged={watch.name: JudgedMetric() for watch in policy.watches})

    def enter(self, phase: str, reason: str, *, step: int | None = None) -> GrayState:
        """Enter another phase or step."""
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
            generation=self._choose_generation()
            if phase == BAKE or (phase == STEP and not self.generation)
            else self.generation,
        )

    def _choose_generation(self) -> int:
        """Return a new generation number, higher than the current one."""
        return max(self.generation + 1, int(self.looked_at or 0))

    def add_batch(self, batch: Batch, policy: Policy, *, now: float) -> GrayState:
        """Add the counts and the time since the last observation."""
        since = 0.0 if self.looked_at is None else min(max(0.0, now - self.looked_at), LONGEST_LOOK)
        kept = self._adjust_clock(now) if now < (self.looked_at or 0.0) else self
        seen = replace(kept, looked_at=now, watched=self.watched + since)
        if self.phase == WARM:
            return _add_warmup(seen, batch, policy)
        if self.phase == BAKE:
            return replace(seen, baking=self.baking + _count_errors(batch.canary))
        if self.phase in (STEP, HOLD, NEEDS_HUMAN) and self.step >= 0:
            by_side = [watch for watch in policy.watches if watch.name != "latency" or self.compared is None]
            judged = {watch.name: self.judged[watch.name].add_batch(watch, batch, step=self.step) for watch in by_side}
            return replace(seen, judged={**self.judged, **judged})
        return seen

    def _adjust_clock(self, now: float) -> GrayState:
        """Adapt to a clock that was set back: no stored time is later than now."""
        shut, baseline_shut = (None if at is None else min(at, now) for at in (self.shut, self.baseline_shut))
        compared = self.compared.adjust_clock(now=now) if self.compared else None
        entered = min(self.entered, now)
        return replace(self, entered=entered, shut=shut, baseline_shut=baseline_shut, compared=compared)

    def record_shut_out(self, *, tripped: bool, reopened: bool, stable_fails: bool) -> GrayState:
        """Record whether the router has shut the canary out. `reopened`: requests were let in since.

        `stable_fails`: stable fails, too: no evidence against the canary, which is reopened.
        """
        if not tripped:
            return replace(self, shut=None)
        if self.shut is not None and not reopened:
            return self
        return replace(self, trips=self.trips + (not stable_fails), shut=self.looked_at)

    def add_readings(self, readings: Iterable[MetricReading], policy: Policy) -> GrayState:
        """Add readings of external metrics, except those requested before the current phase or step."""
        outside = dict(self.outside)
        for reading in readings:
            metric = next((each for each in policy.outside if each.name == reading.name), None)
            if metric is not None and reading.began >= self.entered:
                outside[metric.name] = outside.get(metric.name, Answers()).add_reading(metric, reading)
        return replace(self, outside=outside)

    def resume(self) -> GrayState:
        """Return from needs_human to the previous state, without the evidence, which the operator has reviewed."""
        judged = {name: replace(seen, evidence=Evidence()) for name, seen in self.judged.items()}
        compared = self.compared.reset() if self.compared else None
        resumed = self.enter(self.before, "resumed")
        return replace(resumed, judged=judged, compared=compared, generation=resumed._choose_generation())  # noqa: SLF001 - own class

    def find_tallies(self, name: str) -> tuple[Tally, Tally]:
        """Return canary and stable counts of a metric in the current step."""
        seen = self.judged[name]
        return _find_tally(seen.canary, self.step), _find_tally(seen.stable, self.step)

    @property
    def requests(self) -> int:
        """Requests of the canary in the current step."""
        return max((self.find_tallies(name)[0].requests for name in self.judged), default=0)


def _count_side(side: Side, watch: WatchedMetric, limit: int | None) -> Tally:
    if watch.name == "latency" and limit is not None:
        return Tally(requests=side.requests, bad=min(side.requests, side.count_slower(limit)))
    return _count_errors(side)


def _count_errors(side: Side) -> Tally:
    return Tally(requests=side.requests, bad=min(side.requests, side.errors))


def _add_tally(tallies: tuple[Tally, ...], more: Tally, step: int) -> tuple[Tally, ...]:
    whole = [*tallies, *(Tally() for _ in range(step + 1 - len(tallies)))]
    whole[step] += more
    return tuple(whole)


def _find_tally(tallies: tuple[Tally, ...], step: int) -> Tally:
    return tallies[step] if 0 <= step < len(tallies) else Tally()


def _add_warmup(seen: GrayState, batch: Batch, policy: Policy) -> GrayState:
    warm = seen.warm + batch.stable
    enough = warm.requests >= FEWEST_FOR_A_LIMIT
    judged = {
        watch.name: replace(seen.judged[watch.name], limit=warm.find_quantile(watch.quantile))
        if enough and watch.name == "latency"
        else seen.judged[watch.name]
        for watch in policy.watches
    }
    return replace(seen, warm=warm, judged=judged)
