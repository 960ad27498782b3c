"""The controller of a gray release: observe, decide, record, tell the router; once a second, until the release ends.

If it is killed, the next one continues from the record. The share has not risen meanwhile: a raised share is only lent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from devbox.errors import RouterAway
from devbox.execute.trials import Trials, Wish
from devbox.gray.decide import Look, decide, wanted
from devbox.gray.outside import Reading
from devbox.gray.rollout import WARM, Rollout
from devbox.gray.trial import Trial
from devbox.model.stage import Counts
from devbox.model.traffic import HISTORY, Batch, Second, Side

TICK = 1.0  # seconds between two looks
PATIENCE = 60.0  # seconds that a router which crashed may take to come back


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The router and its servers at one moment. `began`: since when it counts; `threshold`: the canary's buckets.

    `canary_replicas`, `stable_replicas`: the servers of each side that may get requests, over all judged processes.
    `baseline`: None without fresh replicas of stable.
    """

    canary: Side
    stable: Side
    began: str
    threshold: int
    canary_healthy: bool
    stable_healthy: bool
    canary_restarts: int = 0
    open: int = 0
    tripped: bool = False
    canary_replicas: int = 1
    stable_replicas: int = 1
    counts: Counts | None = None  # lost requests of the stage, by cause
    baseline: Side | None = None
    baseline_replicas: int = 0
    baseline_healthy: bool = False
    baseline_tripped: bool = False

    def since(self, earlier: Sight) -> Batch:
        """Return what was counted after an earlier sight; all of it if the router was started again since."""
        if self.began != earlier.began:
            return Batch(canary=self.canary, stable=self.stable, baseline=self.baseline)
        return Batch(
            canary=self.canary.since(earlier.canary),
            stable=self.stable.since(earlier.stable),
            baseline=self.baseline.since(earlier.baseline or Side()) if self.baseline else None,
        )


class Ground(Protocol):
    """Where a gray release happens."""

    def sight(self) -> Sight:
        """Observe once. RouterAway if the router does not answer."""

    def seconds(self, *, after: int) -> tuple[Second, ...]:
        """The complete seconds later than `after` (since the epoch), oldest first, by replica.

        Empty where the router does not count by second, as one that an earlier devbox started does not.
        """

    def lend(self, *, threshold: int, safe: int, generation: int = 0, slow: int = 0) -> None:
        """Send so many buckets to the canary, for a while; without a renewal, `safe` ones, which is also kept on disk.

        `generation`: in which the first failure of each client is counted, and the first response slower than `slow`
        microseconds, one of TIMES; 0 where there is none, as before the release and after it. Called at every look: it
        renews.
        """

    def reopen(self, *, baseline: bool = False) -> None:
        """Let requests go again to a canary that the router has shut out, or to a baseline."""


@dataclass(kw_only=True)
class Controller:
    """One gray release under way. `on_look` sees every look, `on_change` every phase and step that it came to.

    `readings`: what metrics from outside said since this was asked last. `until`: phases in which the work of this
    controller is done. `on_away` is called once when the router is away: nothing is decided until it is back.
    """

    trials: Trials
    ground: Ground
    until: Iterable[str]
    on_look: Callable[[Trial, Sight], None]
    on_change: Callable[[Trial], None]
    readings: Callable[[], tuple[Reading, ...]] = tuple
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic  # unaffected by changes of the system time
    pause: Callable[[float], None] = time.sleep
    on_away: Callable[[], None] = lambda: None
    tick: float = TICK
    wish: Wish | None = None  # with which it begins
    _last: Sight | None = field(default=None, init=False)
    _away: float | None = field(default=None, init=False)

    def run(self, trial: Trial) -> Trial:
        """Control it until one of these phases is reached; return the result."""
        while trial.rollout.phase not in self.until or self.wish is not None:
            sight = self._sight()
            trial = self._look(trial, sight) if sight else trial
            if trial.rollout.phase not in self.until:
                self.pause(self.tick)
        return trial

    def _sight(self) -> Sight | None:
        """None where the router is away; RouterAway where it is for too long."""
        try:
            sight = self.ground.sight()
        except RouterAway:
            since, self._away = self._away, self.clock() if self._away is None else self._away
            if since is None:
                self.on_away()
            elif self.clock() - since > PATIENCE:
                raise
            return None
        self._away = None
        return sight

    def _look(self, trial: Trial, sight: Sight) -> Trial:
        wish, self.wish = self.wish or self.trials.asked(trial), None
        batch = sight.since(self._last) if self._last else Batch(canary=Side(), stable=Side())
        now = self.now()
        batch = replace(batch, seconds=self._seconds(trial, now))
        look = Look(
            now=now,
            batch=batch,
            threshold=sight.threshold,
            canary_healthy=sight.canary_healthy,
            stable_healthy=sight.stable_healthy,
            canary_restarts=sight.canary_restarts,
            open=sight.open,
            tripped=sight.tripped and trial.rollout.phase != WARM,
            asked=wish.what if wish else "",
            by=wish.by if wish else "",
            readings=self.readings(),
            canary_replicas=sight.canary_replicas,
            stable_replicas=sight.stable_replicas,
            baseline_replicas=sight.baseline_replicas,
            baseline_healthy=sight.baseline_healthy,
            baseline_tripped=sight.baseline_tripped,
        )
        after = decide(trial.rollout, look, trial.policy)
        seen = trial.after(after, batch, now=now, threshold=wanted(after, trial.policy).threshold).counted(sight.counts)
        self._apply(trial, seen, sight)
        self.on_look(seen, sight)
        return seen

    def _seconds(self, trial: Trial, now: float) -> tuple[Second, ...]:
        """Return the seconds that the release does not have yet; none if the router is away: the next look has them."""
        known = trial.rollout.compared
        with contextlib.suppress(RouterAway):
            until = min(known.until if known else 0, int(now))  # the clock may have been set back
            return self.ground.seconds(after=max(until, int(now) - HISTORY - 1))
        return ()

    def _apply(self, before: Trial, after: Trial, sight: Sight) -> None:
        """Write the record, then tell the router: after a crash, the record may be ahead of the router, never behind.

        A new share begins a new batch. If the router is away, the next look lends.
        """
        changed = _place(before.rollout) != _place(after.rollout)
        goal = wanted(after.rollout, after.policy)
        self.trials.write(after)
        self._last = sight
        with contextlib.suppress(RouterAway):
            self.ground.lend(threshold=goal.threshold, safe=goal.safe, generation=goal.generation, slow=goal.slow)
            if goal.reopen:
                self.ground.reopen()
            if goal.reopen_baseline:
                self.ground.reopen(baseline=True)
            if goal.threshold != sight.threshold:
                self._last = self.ground.sight()
        if changed:
            self.on_change(after)


def _place(rollout: Rollout) -> tuple[str, int, bool]:
    return rollout.phase, rollout.step, rollout.held


def completing(trial: Trial) -> Trial:
    """Return the gray release so that it goes to 100 % without another promotion: the one it waited for has come."""
    return replace(trial, policy=replace(trial.policy, completes=True))
