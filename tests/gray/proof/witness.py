"""Continuous check of the running router: the canary's traffic weight, and whether the release's record permits it."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from gray.proof.shop import Shop

from devbox.deploy.haproxy import converge
from devbox.deploy.haproxy.runtime import Runtime
from devbox.errors import DevboxError
from devbox.gray.decide import compute_traffic
from devbox.gray.release import GrayRelease
from devbox.model.router import GREEN, WHOLE

_PAUSE = 0.04


@dataclass(frozen=True)
class Sample:
    """One observation: the canary's actual buckets, and those that the record of the gray release permits."""

    at: float
    share: int
    granted: int
    phase: str


@dataclass
class Witness:
    """Takes samples until its exit. `faults`: one message for each weight above the permitted one."""

    shop: Shop
    samples: list[Sample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    away: list[float] = field(default_factory=list)  # moments at which the router did not answer

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def share(self) -> int:
        """The canary's last weight."""
        return self.samples[-1].share if self.samples else 0

    def _watch(self) -> None:
        known = ""
        while not self._over.wait(_PAUSE):
            before = self._trial()
            share = self._share(before)
            after = self._trial()
            if before is None or after is None or before.began != after.began:
                continue
            if share is None:
                self.away.append(time.monotonic())
                continue
            name = f"{after.release} {after.began}"
            self._judge(share, after, risen=known == name)
            known = name

    def _judge(self, share: int, trial: GrayRelease, *, risen: bool) -> None:
        granted = _granted(trial)
        earlier = self.share() if risen else WHOLE
        if share > max(granted, earlier):
            self.faults.append(f"{share} of {WHOLE} in {trial.rollout.phase}, granted were {granted}")
        self.samples.append(Sample(time.monotonic(), share, granted, trial.rollout.phase))

    def _trial(self) -> GrayRelease | None:
        with contextlib.suppress(DevboxError):
            return self.shop.trials.read()
        return None

    def _share(self, trial: GrayRelease | None) -> int | None:
        """The canary's weight in buckets; None if the router does not answer."""
        if trial is None:
            return None
        runtime = Runtime(self.shop.paths.router(self.shop.production))
        with contextlib.suppress(DevboxError):
            text = runtime.query(converge.ASK_SHARE)
            share = converge.parse_runtime("", text).compute_share(clock=int(time.time()))
            return (share if trial.side == GREEN else WHOLE - share) if text else None
        return None


def _granted(trial: GrayRelease) -> int:
    return compute_traffic(trial.rollout, trial.policy).threshold
