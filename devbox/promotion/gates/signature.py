"""Gates `signature` and `provenance`: signers of the image, and the builder who attests its build."""

from __future__ import annotations

from devbox.attest import statements
from devbox.attest.verify import AttachmentFinding
from devbox.model.plan import FAIL, PASS, Verdict
from devbox.model.stage import ProvenanceGate, SignatureGate
from devbox.promotion.gates import evidence
from devbox.promotion.gates.context import GateContext


def judge_signature(gate: SignatureGate, context: GateContext) -> Verdict:
    """Judge whether one of the gate's keys signed this image."""
    ring = evidence.read_keyring(context)
    keys = ring.select_keys(gate.keys or ring.builders)
    if not keys:
        return _deny("signature", "missing [builders] in the env file: no signature counts")
    found = [each for each in evidence.list_findings(context, keys) if each.what == statements.SIGNATURE]
    good = [each for each in found if each.verdict == "ok"]
    if good:
        by = ", ".join(sorted({ring.get_name(each.by) for each in good}))
        return Verdict(
            subject="signature", verdict=PASS, reason=f"signed by {by}", evidence=evidence.digest_findings(good)
        )
    expected_signers = " or ".join(gate.keys or ring.builders)
    others = f"; signatures by others: {len(found)}" if found else ""
    return _deny("signature", f"the image is not signed by {expected_signers}{others}", found)


def judge_provenance(gate: ProvenanceGate, context: GateContext) -> Verdict:
    """Judge whether one of the gate's builders attests that it built this release."""
    ring = evidence.read_keyring(context)
    keys = ring.select_keys(gate.builders or ring.builders)
    if not keys:
        return _deny("provenance", "missing [builders] in the env file: no provenance counts")
    found = evidence.list_findings(context, keys)
    for each, provenance in evidence.list_provenances(found):
        if (provenance.release, provenance.source) == (context.release.id, context.release.source):
            reason = f"built by {ring.get_name(each.by)} from {provenance.source}"
            return Verdict(subject="provenance", verdict=PASS, reason=reason, evidence=each.evidence)
    provenances = [each for each in found if each.what == statements.PROVENANCE]
    expected_signers = " or ".join(gate.builders or ring.builders)
    others = "; attached provenance is by others, or about other sources" if provenances else ""
    return _deny("provenance", f"no provenance of this release by {expected_signers}{others}", provenances)


def _deny(subject: str, reason: str, found: list[AttachmentFinding] | None = None) -> Verdict:
    looked = evidence.digest_findings(found) if found else ""
    return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=looked)
