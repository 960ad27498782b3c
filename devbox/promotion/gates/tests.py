"""The gate `tests`: the newest run of the tests against this very image passed."""

from __future__ import annotations

from devbox.model.stage import TestsGate
from devbox.model.verdict import FAIL, PASS, PENDING, Verdict
from devbox.promotion.gates.contract import GateContext, expiry, told
from devbox.records.testresults import TestResults

GREEN = ("passed", "flaky", "cached")


def judge(gate: TestsGate, context: GateContext) -> Verdict:
    """Pending where nothing was run yet; a red run speaks against the image until a green one takes its place."""
    found = TestResults(context.paths, context.instance.id).newest(context.release.image)
    if found is None:
        reason = "the tests were not run against this image: devbox test --against release"
        return Verdict(subject=gate.op, verdict=PENDING, reason=reason)
    expires = expiry(found.at, gate.expires)
    if found.passed:
        return Verdict(
            subject=gate.op,
            verdict=PASS,
            reason=f"{len(found.cells)} passed, {told(found.at)}",
            evidence=found.evidence,
            expires_at=expires,
        )
    red = [name for name, state in found.cells.items() if state not in GREEN]
    return Verdict(
        subject=gate.op,
        verdict=FAIL,
        reason=f"the tests failed, {told(found.at)}: {', '.join(red) or 'no cell was run'}",
        evidence=found.evidence,
        expires_at=expires,
    )
