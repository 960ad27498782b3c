"""Gate `soak`: a stage has run the release for a time, observed healthy and without drift.

The time is measured by observations of the stage's drift monitor (`records.observations`) or signed records of another
host, not by the wall clock.
"""

from __future__ import annotations

import datetime as dt

from devbox.model.duration import format_duration
from devbox.model.plan import PASS, PENDING, Verdict
from devbox.model.stage import SoakGate
from devbox.promotion.gates.context import GateContext, compute_expiry, format_timestamp
from devbox.promotion.history import find_time


def judge(gate: SoakGate, context: GateContext) -> Verdict:
    """Return pending before that; time in which the stage is down, drifted, unhealthy or unobserved does not count."""
    subject = f"{gate.op} {gate.stage}"
    run = context.history.find_run(gate.stage, context.release.id)
    if run is None:
        return Verdict(subject=subject, verdict=PENDING, reason=f"the release has not been in {gate.stage}")
    begun, ended = run
    seen = context.observed(gate.stage, context.release.id)
    lasted = seen.seconds
    if lasted >= gate.duration:
        needed = format_duration(gate.duration)
        reason = f"seen healthy in {gate.stage} for {format_duration(lasted)}, at least {needed} required"
        over = dt.datetime.fromisoformat(find_time(ended)) if ended else context.now
        expires = compute_expiry(format_timestamp(over - dt.timedelta(seconds=lasted - gate.duration)), gate.expires)
        return Verdict(subject=subject, verdict=PASS, reason=reason, evidence=begun.hash, expires_at=expires)
    progress = f"{format_duration(lasted)} of {format_duration(gate.duration)}"
    if ended:
        reason = f"left {gate.stage} after it was seen healthy for {progress}"
        return Verdict(subject=subject, verdict=PENDING, reason=reason, evidence=begun.hash)
    reason = f"seen healthy in {gate.stage} for {progress}"
    if seen.remote:
        reason = f"{reason}, by the records of another host; run there: devbox promote {gate.stage}"
        return Verdict(subject=subject, verdict=PENDING, reason=reason, evidence=begun.hash)
    if not seen.healthy:
        reason = f"{reason}; not healthy now, so no time counts: devbox ps --stage {gate.stage}"
        return Verdict(subject=subject, verdict=PENDING, reason=reason, evidence=begun.hash)
    opens = format_timestamp(context.now + dt.timedelta(seconds=gate.duration - lasted))
    return Verdict(subject=subject, verdict=PENDING, reason=reason, opens_at=opens, evidence=begun.hash)
