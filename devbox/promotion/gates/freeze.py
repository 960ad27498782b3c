"""Gate `freeze`: closed during time windows. Rollbacks pass no gates, and are never frozen."""

from __future__ import annotations

from devbox.model import windows
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.stage import FreezeGate
from devbox.promotion.gates.context import GateContext, format_timestamp


def judge(gate: FreezeGate, context: GateContext) -> Verdict:
    """Return pending within a window, until it and directly following ones are over."""
    try:
        place, known = windows.load_zone(gate.zone), [windows.parse(text) for text in gate.windows]
    except ValueError as error:
        return Verdict(subject=gate.op, verdict=FAIL, reason=str(error))
    window = windows.find_closed_window(known, context.now, place)
    if window is None:
        return Verdict(subject=gate.op, verdict=PASS, reason=f"no freeze now ({gate.zone})")
    opens = windows.find_opening(known, context.now, place)
    text = gate.windows[known.index(window)]
    return Verdict(
        subject=gate.op,
        verdict=PENDING,
        reason=f"frozen: {text} ({gate.zone})",
        opens_at=format_timestamp(opens) if opens else None,
    )
