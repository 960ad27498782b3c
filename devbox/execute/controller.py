"""Who controls a gray release: looks, decides, has the router do it, keeps it; again and again, until it is over.

Killed anywhere, the next one begins with what was kept: the router has not risen meanwhile, since a share is lent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from devbox.execute.trials import Trials, Wish
from devbox.gray.decide import Look, decide, wanted
from devbox.gray.outside import Reading
from devbox.gray.rollout import WARM, Rollout
from devbox.gray.trial import Trial
from devbox.model.traffic import Batch, Side

TICK = 1.0  # seconds between two looks


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What is there at one moment. `began`: since when the router counts; `threshold`: what it goes by."""

    canary: Side
    stable: Side
    began: str
    threshold: int
    canary_healthy: bool
    stable_healthy: bool
    canary_restarts: int = 0
    open: int = 0
    tripped: bool = False

    def since(self, earlier: Sight) -> Batch:
        """What came after an earlier sight; all there is, where the router began anew."""
        if self.began != earlier.began:
            return Batch(canary=self.canary, stable=self.stable)
        return Batch(canary=self.canary.since(earlier.canary), stable=self.stable.since(earlier.stable))


class Ground(Protocol):
    """Where a gray release happens."""

    def sight(self) -> Sight:
        """Look once."""

    def lend(self, *, threshold: int, safe: int) -> None:
        """Have so many buckets go to the canary, for a while; when nobody renews that, `safe` ones. Kept on disk: that.

        Called at every look: it renews.
        """


@dataclass(kw_only=True)
class Controller:
    """One gray release under way. `on_look` sees every look, `on_change` every phase and step that it came to.

    `readings`: what metrics from outside said since this was asked last. `until`: phases in which the work of this
    controller is done.
    """

    trials: Trials
    ground: Ground
    until: Iterable[str]
    on_look: Callable[[Trial, Sight], None]
    on_change: Callable[[Trial], None]
    readings: Callable[[], tuple[Reading, ...]] = tuple
    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    tick: float = TICK
    wish: Wish | None = None  # with which it begins
    _last: Sight | None = field(default=None, init=False)

    def run(self, trial: Trial) -> Trial:
        """Control it until one of these phases is reached; what it came to."""
        while trial.rollout.phase not in self.until or self.wish is not None:
            trial = self._look(trial)
            if trial.rollout.phase not in self.until:
                self.pause(self.tick)
        return trial

    def _look(self, trial: Trial) -> Trial:
        sight, wish = self.ground.sight(), self.wish or self.trials.asked()
        self.wish = None
        batch = sight.since(self._last) if self._last else Batch(canary=Side(), stable=Side())
        now = self.now()
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
        )
        after = decide(trial.rollout, look, trial.policy)
        seen = trial.after(after, batch, now=now, threshold=wanted(after, trial.policy).threshold)
        self._apply(trial, seen, sight)
        self.on_look(seen, sight)
        return seen

    def _apply(self, before: Trial, after: Trial, sight: Sight) -> None:
        """The record first where the share rises: whoever comes after a crash may know of more than there is, not less.

        A new share begins a new batch.
        """
        changed = _place(before.rollout) != _place(after.rollout)
        goal = wanted(after.rollout, after.policy)
        self.trials.write(after)
        self.ground.lend(threshold=goal.threshold, safe=goal.safe)
        self._last = self.ground.sight() if goal.threshold != sight.threshold else sight
        if changed:
            self.on_change(after)


def _place(rollout: Rollout) -> tuple[str, int, bool]:
    return rollout.phase, rollout.step, rollout.held


def completing(trial: Trial) -> Trial:
    """A gray release that waits for its promotion, which has come: it goes on to 100 % by itself."""
    return replace(trial, policy=replace(trial.policy, completes=True))
