"""The gates `signature` and `provenance`: who signed the image, and which builder states that it built the release."""

from __future__ import annotations

from devbox.attest import statements
from devbox.attest.verify import Finding
from devbox.model.stage import ProvenanceGate, SignatureGate
from devbox.model.verdict import FAIL, PASS, Verdict
from devbox.promotion.gates import evidence
from devbox.promotion.gates.contract import GateContext


def judge_signature(gate: SignatureGate, context: GateContext) -> Verdict:
    """Whether one of the gate's keys signed this very image."""
    ring = evidence.ring(context)
    keys = ring.of(gate.keys or ring.builders)
    if not keys:
        return _denied("signature", "the file has no [builders], so no signature counts")
    found = [each for each in evidence.findings(context, keys) if each.what == statements.SIGNATURE]
    good = [each for each in found if each.verdict == "ok"]
    if good:
        by = ", ".join(sorted({ring.name(each.by) for each in good}))
        return Verdict(subject="signature", verdict=PASS, reason=f"signed by {by}", evidence=evidence.digest_of(good))
    wanted = " or ".join(gate.keys or ring.builders)
    others = f"; there are {len(found)} by others" if found else ""
    return _denied("signature", f"the image is not signed by {wanted}{others}", found)


def judge_provenance(gate: ProvenanceGate, context: GateContext) -> Verdict:
    """Judge whether one of the gate's builders states that it built this release."""
    ring = evidence.ring(context)
    keys = ring.of(gate.builders or ring.builders)
    if not keys:
        return _denied("provenance", "the file has no [builders], so no provenance counts")
    found = evidence.findings(context, keys)
    for each, told in evidence.builds(found):
        if (told.release, told.source) == (context.release.id, context.release.source):
            reason = f"built by {ring.name(each.by)} from {told.source}"
            return Verdict(subject="provenance", verdict=PASS, reason=reason, evidence=each.evidence)
    said = [each for each in found if each.what == statements.PROVENANCE]
    wanted = " or ".join(gate.builders or ring.builders)
    others = "; what is attached is by others, or about other sources" if said else ""
    return _denied("provenance", f"{wanted} did not state that it built this release{others}", said)


def _denied(subject: str, reason: str, found: list[Finding] | None = None) -> Verdict:
    looked = evidence.digest_of(found) if found else ""
    return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=looked)
