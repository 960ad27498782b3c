"""Where a gray release stands, in the text format of Prometheus. Pure.

What the router counts it tells by itself; here is what its controller knows: phase, step, decisions, evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from devbox.gray.decide import wanted
from devbox.gray.glance import Glance, glance
from devbox.gray.policy import WHOLE
from devbox.gray.trial import Trial
from devbox.model.traffic import Side

_KINDS = {
    "rollout_info": "What is on trial, or was last.",
    "rollout_phase": "Where it stands.",
    "rollout_step": "The step it is at; 0 before the first.",
    "rollout_steps": "How many it has.",
    "rollout_held": "Whether a person holds it.",
    "rollout_share_ratio": "The share of visitors that the canary is to have.",
    "rollout_began_timestamp_seconds": "When it began.",
    "rollout_looked_timestamp_seconds": "When its controller looked last.",
    "rollout_decisions_total": "How often it came to a phase.",
    "rollout_requests_total": "Requests that were judged.",
    "rollout_errors_total": "Those that failed.",
    "rollout_evidence_ratio": "Evidence against the canary as a share of the evidence that aborts: 1 aborts.",
    "rollout_harm_ratio": "So much worse than stable may it be at most, as a share of requests.",
    "rollout_metric_value": "What a metric from outside said last.",
    "rollout_metric_good": "Whether that was good; there is none while it does not answer.",
}


def text(trial: Trial) -> str:
    """The lines."""
    seen = glance(trial)
    of = {"stage": seen.stage}
    lines: list[str] = []
    for name, samples in _samples(trial, seen).items():
        found = [_line(name, {**of, **labels}, value) for labels, value in samples]
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP devbox_{name} {_KINDS[name]}", f"# TYPE devbox_{name} {kind}", *found] if found else []
    return "\n".join([*lines, ""])


Samples = Iterable[tuple[dict[str, str], float]]


def _samples(trial: Trial, seen: Glance) -> dict[str, Samples]:
    rollout, sides = trial.rollout, {"canary": trial.canary, "stable": trial.stable}
    if trial.policy.fresh:
        sides["baseline"] = trial.baseline or Side()
    decisions = Counter(change.phase for change in trial.changes)
    outside = {each.name: rollout.outside.get(each.name) for each in trial.policy.outside}
    return {
        "rollout_info": [({"release": seen.release, "image": trial.deployment.release.image, "color": trial.side}, 1)],
        "rollout_phase": [({"phase": seen.phase}, 1)],
        "rollout_step": [({}, seen.step)],
        "rollout_steps": [({}, len(seen.steps))],
        "rollout_held": [({}, seen.held)],
        "rollout_share_ratio": [({}, wanted(rollout, trial.policy).threshold / WHOLE)],
        "rollout_began_timestamp_seconds": [({}, trial.began)],
        "rollout_looked_timestamp_seconds": [({}, rollout.looked_at)] if rollout.looked_at else [],
        "rollout_decisions_total": [({"to": phase}, count) for phase, count in decisions.items()],
        "rollout_requests_total": [({"side": name}, side.requests) for name, side in sides.items()],
        "rollout_errors_total": [({"side": name}, side.errors) for name, side in sides.items()],
        "rollout_evidence_ratio": [({"metric": each.metric}, each.of_enough) for each in seen.against],
        "rollout_harm_ratio": [({"metric": each.metric}, each.harm) for each in seen.against],
        "rollout_metric_value": [
            ({"metric": name}, said.value) for name, said in outside.items() if said and said.value is not None
        ],
        "rollout_metric_good": [
            ({"metric": name}, said.good is not None)
            for name, said in outside.items()
            if said and (said.row or said.good is not None)
        ],
    }


def _line(name: str, labels: dict[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"devbox_{name}{{{shown}}} {float(value):.12g}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
