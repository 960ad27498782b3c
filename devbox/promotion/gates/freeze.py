"""The gate `freeze`: closed in windows of time. A way back is never frozen: rollbacks pass no gate."""

from __future__ import annotations

from devbox.model import windows
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.stage import FreezeGate
from devbox.promotion.gates.context import GateContext, format_timestamp


def judge(gate: FreezeGate, context: GateContext) -> Verdict:
    """Pending within a window, until it and those that follow on it are over."""
    try:
        place, known = windows.load_zone(gate.zone), [windows.parse(text) for text in gate.windows]
    except ValueError as error:
        return Verdict(subject=gate.op, verdict=FAIL, reason=str(error))
    window = windows.find_closed_window(known, context.now, place)
    if window is None:
        return Verdict(subject=gate.op, verdict=PASS, reason=f"no freeze just now ({gate.zone})")
    opens = windows.find_opening(known, context.now, place)
    text = gate.windows[known.index(window)]
    return Verdict(
        subject=gate.op,
        verdict=PENDING,
        reason=f"frozen: {text} ({gate.zone})",
        opens_at=format_timestamp(opens) if opens else None,
    )
