"""Summary of a gray release, for users, scripts and charts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from devbox.gray.decide import compute_traffic
from devbox.gray.policy import WHOLE, WatchedMetric
from devbox.gray.release import GrayRelease
from devbox.gray.state import STEP, Answers
from devbox.model.frozen import dataclass
from devbox.model.traffic import Side

_RECENT = 30.0  # seconds of the curves used for response times


@dataclass(frozen=True, kw_only=True)
class SideSummary:
    """One side since the beginning; its recent 99 % response time in µs, if known."""

    requests: int
    errors: int
    p99: int | None

    @property
    def rate(self) -> float:
        """Rate of errors."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, kw_only=True)
class MetricEvidence:
    """A metric's evidence against the canary, as a share of the abort threshold: 0 to 1 and above."""

    metric: str
    of_enough: float
    harm: float


@dataclass(frozen=True, kw_only=True)
class ExternalMetricStatus:
    """Last reading of an external metric. `good` None: no current reading."""

    metric: str
    good: bool | None
    said: str


@dataclass(frozen=True, kw_only=True)
class GraySummary:
    """Current state. `share` and `steps` in percent; `step` from 1, 0 before the first. `home`: stage of the clients.

    `left`: minimum remaining seconds of the step. `margin`: allowed harm. `baseline`: fresh replicas of stable as the
    control; None if stable is the control. `looked_at`: the controller's last observation, in seconds since the epoch.
    `safe`: share in percent that applies without further observations.
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
    canary: SideSummary
    stable: SideSummary
    against: tuple[MetricEvidence, ...]
    outside: tuple[ExternalMetricStatus, ...]
    margin: float
    lost: int
    lost_by_cause: dict[str, int]
    lost_unknown: int
    baseline: SideSummary | None = None
    looked_at: float | None = None
    safe: float = 0.0


def summarize(gray_release: GrayRelease) -> GraySummary:
    """Return the summary of an observation."""
    rollout, policy = gray_release.rollout, gray_release.policy
    lately = [point for point in gray_release.points if point.at >= gray_release.points[-1].at - _RECENT]
    traffic = compute_traffic(rollout, policy)
    return GraySummary(
        stage=gray_release.stage,
        home=gray_release.deployment.stage.name,
        release=gray_release.release,
        phase=rollout.phase,
        step=rollout.step + 1,
        steps=tuple(step * 100 / WHOLE for step in policy.steps),
        share=traffic.threshold * 100 / WHOLE,
        held=rollout.held,
        reason=rollout.reason,
        left=max(0.0, policy.min_time - rollout.watched) if rollout.phase == STEP else 0.0,
        canary=_summarize_side(gray_release.canary, [point.canary_p99 for point in lately]),
        stable=_summarize_side(gray_release.stable, [point.stable_p99 for point in lately]),
        against=tuple(_summarize_evidence(gray_release, watch) for watch in policy.watches),
        outside=tuple(
            _summarize_metric(each.name, rollout.outside.get(each.name, Answers())) for each in policy.outside
        ),
        margin=policy.margin,
        lost=gray_release.lost_requests,
        lost_by_cause={cause: count for cause, count in gray_release.losses.lost.items() if count}
        if gray_release.losses
        else {},
        lost_unknown=gray_release.losses.unknown if gray_release.losses else 0,
        baseline=_summarize_side(gray_release.baseline or Side(), [point.baseline_p99 for point in lately])
        if policy.has_baseline
        else None,
        looked_at=rollout.looked_at,
        safe=traffic.safe * 100 / WHOLE,
    )


def list_sides(seen: GraySummary) -> list[tuple[str, SideSummary]]:
    """Return the sides with their display names."""
    found = [("new release (canary)", seen.canary), ("old release (stable)", seen.stable)]
    return found if seen.baseline is None else [found[0], ("old, fresh (baseline)", seen.baseline), found[1]]


def describe_losses(seen: GraySummary) -> str:
    """Describe lost requests: number, causes, and the bound of further ones."""
    causes = ", ".join(f"{count} {cause}" for cause, count in seen.lost_by_cause.items())
    found = f"{seen.lost} ({causes})" if causes else str(seen.lost or "none")
    return (
        f"{found}; at most {seen.lost_unknown} more when the router or a replica was killed"
        if seen.lost_unknown
        else found
    )


def _summarize_side(whole: Side, times: list[int | None]) -> SideSummary:
    known = sorted(time for time in times if time is not None)
    return SideSummary(requests=whole.requests, errors=whole.errors, p99=known[len(known) // 2] if known else None)


def _summarize_metric(name: str, answers: Answers) -> ExternalMetricStatus:
    good = False if answers.row else True if answers.good is not None else None
    return ExternalMetricStatus(metric=name, good=good, said=answers.last)


def _summarize_evidence(gray_release: GrayRelease, watch: WatchedMetric) -> MetricEvidence:
    return MetricEvidence(
        metric=watch.name,
        of_enough=gray_release.compute_strength(watch),
        harm=gray_release.rollout.judged[watch.name].harm,
    )


_KINDS = {
    "rollout_info": "The current or last gray release.",
    "rollout_phase": "Its phase.",
    "rollout_step": "Its step; 0 before the first.",
    "rollout_steps": "The number of steps.",
    "rollout_held": "Whether an operator holds it.",
    "rollout_share_ratio": "The share of clients intended for the canary.",
    "rollout_began_timestamp_seconds": "Its start time.",
    "rollout_looked_timestamp_seconds": "Time of the last observation by its controller.",
    "rollout_decisions_total": "How often it entered a phase.",
    "rollout_requests_total": "Requests that were judged.",
    "rollout_errors_total": "Those that failed.",
    "rollout_evidence_ratio": "Evidence against the canary as a share of the evidence that aborts: 1 aborts.",
    "rollout_harm_ratio": "The upper bound of how much worse than stable the canary may be, as a share of requests.",
    "rollout_metric_value": "The last value of an external metric.",
    "rollout_metric_good": "Whether that value was good; missing while the metric does not respond.",
}


def render_metrics(gray_release: GrayRelease) -> str:
    """Render the Prometheus lines."""
    seen = summarize(gray_release)
    of = {"stage": seen.stage}
    lines: list[str] = []
    for name, samples in _build_samples(gray_release, seen).items():
        found = [_format_line(name, {**of, **labels}, value) for labels, value in samples]
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP devbox_{name} {_KINDS[name]}", f"# TYPE devbox_{name} {kind}", *found] if found else []
    return "\n".join([*lines, ""])


Samples = Iterable[tuple[dict[str, str], float]]


def _build_samples(gray_release: GrayRelease, seen: GraySummary) -> dict[str, Samples]:
    rollout, sides = gray_release.rollout, {"canary": gray_release.canary, "stable": gray_release.stable}
    if gray_release.policy.has_baseline:
        sides["baseline"] = gray_release.baseline or Side()
    decisions = Counter(change.phase for change in gray_release.changes)
    outside = {each.name: rollout.outside.get(each.name) for each in gray_release.policy.outside}
    return {
        "rollout_info": [
            ({"release": seen.release, "image": gray_release.deployment.release.image, "color": gray_release.side}, 1)
        ],
        "rollout_phase": [({"phase": seen.phase}, 1)],
        "rollout_step": [({}, seen.step)],
        "rollout_steps": [({}, len(seen.steps))],
        "rollout_held": [({}, seen.held)],
        "rollout_share_ratio": [({}, compute_traffic(rollout, gray_release.policy).threshold / WHOLE)],
        "rollout_began_timestamp_seconds": [({}, gray_release.began)],
        "rollout_looked_timestamp_seconds": [({}, rollout.looked_at)] if rollout.looked_at else [],
        "rollout_decisions_total": [({"to": phase}, count) for phase, count in decisions.items()],
        "rollout_requests_total": [({"side": name}, side.requests) for name, side in sides.items()],
        "rollout_errors_total": [({"side": name}, side.errors) for name, side in sides.items()],
        "rollout_evidence_ratio": [({"metric": each.metric}, each.of_enough) for each in seen.against],
        "rollout_harm_ratio": [({"metric": each.metric}, each.harm) for each in seen.against],
        "rollout_metric_value": [
            ({"metric": name}, answers.value)
            for name, answers in outside.items()
            if answers and answers.value is not None
        ],
        "rollout_metric_good": [
            ({"metric": name}, answers.good is not None)
            for name, answers in outside.items()
            if answers and (answers.row or answers.good is not None)
        ],
    }


def _format_line(name: str, labels: dict[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
    return f"devbox_{name}{{{shown}}} {float(value):.12g}"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
