"""The gate `soak`: the release has been what a stage runs for a while, by the ledger."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

from devbox.model.entry import Entry
from devbox.model.stage import SoakGate
from devbox.model.verdict import PASS, PENDING, Verdict
from devbox.promotion.gates.contract import GateContext, expiry, moment, written
from devbox.promotion.history import since


def judge(gate: SoakGate, context: GateContext) -> Verdict:
    """Pending until then. Time that a clock put back may have made up does not count."""
    subject = f"{gate.op} {gate.stage}"
    run = _run(context, gate.stage)
    if run is None:
        return Verdict(subject=subject, verdict=PENDING, reason=f"the release has not been in {gate.stage}")
    begun, ended = run
    if _went_backwards(context, begun):
        reason = "the clock of this machine went backwards since: how long it was there is not known"
        return Verdict(subject=subject, verdict=PENDING, reason=reason)
    start = moment(since(begun))
    lasted = ((moment(since(ended)) if ended else context.now) - start).total_seconds()
    full = start + dt.timedelta(seconds=gate.duration)
    if lasted >= gate.duration:
        reason = f"in {gate.stage} for {_shown(lasted)}, {_shown(gate.duration)} are asked for"
        expires = expiry(written(full), gate.expires)
        return Verdict(subject=subject, verdict=PASS, reason=reason, evidence=begun.hash, expires_at=expires)
    if ended:
        reason = f"it left {gate.stage} after {_shown(lasted)} of {_shown(gate.duration)}"
        return Verdict(subject=subject, verdict=PENDING, reason=reason, evidence=begun.hash)
    reason = f"in {gate.stage} for {_shown(lasted)} of {_shown(gate.duration)}"
    return Verdict(subject=subject, verdict=PENDING, reason=reason, opens_at=written(full), evidence=begun.hash)


def _run(context: GateContext, stage: str) -> tuple[Entry, Entry | None] | None:
    """When the release came to the stage last, and by which other one it was replaced."""
    begun: Entry | None = None
    ended: Entry | None = None
    for entry in context.history.came(stage):
        mine = entry.release == context.release.id
        if mine and (begun is None or ended is not None):
            begun, ended = entry, None
        elif not mine and begun is not None and ended is None:
            ended = entry
    return (begun, ended) if begun is not None else None


def _went_backwards(context: GateContext, begun: Entry) -> bool:
    later = (entry for entry in context.history.entries if entry.seq >= begun.seq)
    times = [moment(since(begun)), *(moment(entry.at) for entry in later)]
    return any(later < earlier for earlier, later in pairwise([*times, context.now]))


def _shown(seconds: float) -> str:
    """A duration in the largest unit that leaves something to tell: `45 s`, `90 min`, `30 h`, `3 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.0f} s"
