"""A gray release at a glance: what a person, a script and a chart are shown of it. Pure."""

from __future__ import annotations

from devbox.frozen import dataclass
from devbox.gray.decide import wanted
from devbox.gray.outside import Answers
from devbox.gray.policy import WHOLE, Watch
from devbox.gray.rollout import STEP
from devbox.gray.trial import Trial
from devbox.model.traffic import Side

_RECENT = 30.0  # seconds of the curves from which response times are shown


@dataclass(frozen=True, kw_only=True)
class SideSeen:
    """One side since the beginning; the response time that 99 % kept to lately, in µs, where there is one."""

    requests: int
    errors: int
    p99: int | None

    @property
    def rate(self) -> float:
        """The share of errors."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, kw_only=True)
class Against:
    """The evidence of a metric against the canary: how much there is of what would be enough, 0 to 1 and above."""

    metric: str
    of_enough: float
    harm: float


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a metric from outside said last. `good` None: it gives no answer just now."""

    metric: str
    good: bool | None
    said: str


@dataclass(frozen=True, kw_only=True)
class Glance:
    """Where it stands. `share` and `steps` in percent; `step` from 1, 0 before the first. `home`: whose visitors.

    `left`: seconds that the step lasts at least. `margin`: so much harm is allowed to go on. `baseline`: fresh replicas
    of stable, which the canary is compared with; None where that is stable. `looked_at`: time of the controller's last
    look, in seconds since the epoch. `safe`: the share, in percent, that the router returns to without further looks.
    """

    stage: str
    home: str
    release: str
    phase: str
    step: int
    steps: tuple[float, ...]
    share: float
    held: bool
    reason: str
    left: float
    canary: SideSeen
    stable: SideSeen
    against: tuple[Against, ...]
    outside: tuple[Told, ...]
    margin: float
    lost: int
    lost_by_cause: dict[str, int]
    lost_unknown: int
    baseline: SideSeen | None = None
    looked_at: float | None = None
    safe: float = 0.0


def glance(trial: Trial) -> Glance:
    """What is shown of a look."""
    rollout, policy = trial.rollout, trial.policy
    lately = [point for point in trial.points if point.at >= trial.points[-1].at - _RECENT]
    traffic = wanted(rollout, policy)
    return Glance(
        stage=trial.stage,
        home=trial.deployment.stage.name,
        release=trial.release,
        phase=rollout.phase,
        step=rollout.step + 1,
        steps=tuple(step * 100 / WHOLE for step in policy.steps),
        share=traffic.threshold * 100 / WHOLE,
        held=rollout.held,
        reason=rollout.reason,
        left=max(0.0, policy.min_time - rollout.watched) if rollout.phase == STEP else 0.0,
        canary=_side(trial.canary, [point.canary_p99 for point in lately]),
        stable=_side(trial.stable, [point.stable_p99 for point in lately]),
        against=tuple(_against(trial, watch) for watch in policy.watches),
        outside=tuple(_told(each.name, rollout.outside.get(each.name, Answers())) for each in policy.outside),
        margin=policy.margin,
        lost=trial.lost,
        lost_by_cause={cause: count for cause, count in trial.losses.lost.items() if count} if trial.losses else {},
        lost_unknown=trial.losses.unknown if trial.losses else 0,
        baseline=_side(trial.baseline or Side(), [point.baseline_p99 for point in lately]) if policy.fresh else None,
        looked_at=rollout.looked_at,
        safe=traffic.safe * 100 / WHOLE,
    )


def rows(seen: Glance) -> list[tuple[str, SideSeen]]:
    """The sides by their names, as they are shown."""
    found = [("new release (canary)", seen.canary), ("old release (stable)", seen.stable)]
    return found if seen.baseline is None else [found[0], ("old, fresh (baseline)", seen.baseline), found[1]]


def losses(seen: Glance) -> str:
    """Lost requests in words: how many, why, and how many more there may be."""
    causes = ", ".join(f"{count} {cause}" for cause, count in seen.lost_by_cause.items())
    found = f"{seen.lost} ({causes})" if causes else str(seen.lost or "none")
    return (
        f"{found}; at most {seen.lost_unknown} more when the router or a replica was killed"
        if seen.lost_unknown
        else found
    )


def _side(whole: Side, times: list[int | None]) -> SideSeen:
    known = sorted(time for time in times if time is not None)
    return SideSeen(requests=whole.requests, errors=whole.errors, p99=known[len(known) // 2] if known else None)


def _told(name: str, said: Answers) -> Told:
    good = False if said.row else True if said.good is not None else None
    return Told(metric=name, good=good, said=said.last)


def _against(trial: Trial, watch: Watch) -> Against:
    return Against(metric=watch.name, of_enough=trial.strength(watch), harm=trial.rollout.judged[watch.name].harm)
