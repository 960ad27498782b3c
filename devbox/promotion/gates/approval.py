"""The gate `approval`: enough approvers have signed that exactly this deployment may go to this stage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator

from devbox.attest import predicates, statements, verify
from devbox.attest.predicates import Approval
from devbox.frozen import dataclass
from devbox.model.stage import ApprovalGate
from devbox.model.verdict import FAIL, PASS, PENDING, Verdict
from devbox.promotion import coverage
from devbox.promotion.gates import evidence
from devbox.promotion.gates.contract import GateContext, expiry, moment, told, written
from devbox.records.keyring import Keyring


@dataclass(frozen=True, kw_only=True)
class Said:
    """One approval that is signed by an approver. `fault`: why it does not count; "" where it does."""

    approver: str
    approval: Approval
    evidence: str
    expires: str
    fault: str = ""


def judge(gate: ApprovalGate, context: GateContext) -> Verdict:
    """Whether the approvals that count are enough. Two by one person, or by one key, are one."""
    people = gate.people or tuple(context.approvers)
    said = list(approvals(gate, context))
    counting = {each.approver: each for each in said if not each.fault}
    have, subject = len(counting), "approval"
    if have >= gate.count:
        last = sorted(counting.values(), key=lambda each: each.expires)[-gate.count :]
        return Verdict(
            subject=subject,
            verdict=PASS,
            reason=f"approved by {', '.join(sorted(counting))}",
            evidence=evidence.joined(each.evidence for each in counting.values()),
            expires_at=min(each.expires for each in last),
        )
    able = [name for name in people if name in context.approvers]
    if len(able) < gate.count:
        return Verdict(subject=subject, verdict=FAIL, reason=f"{gate.count} must approve, and only {len(able)} may")
    waiting = [name for name in able if name not in counting]
    missing = gate.count - have
    whom = ", ".join(waiting) if missing == len(waiting) else f"{missing} of {', '.join(waiting)}"
    reason = f"{have} of {gate.count} approved; waiting for {whom}: devbox approve {context.stage.name}"
    faults = "; ".join(f"that of {each.approver} does not count: {each.fault}" for each in said if each.fault)
    return Verdict(subject=subject, verdict=PENDING, reason=f"{reason}; {faults}" if faults else reason)


def approvals(gate: ApprovalGate, context: GateContext) -> Iterator[Said]:
    """All approvals of this stage that the approvers signed, also those that do not count."""
    ring = evidence.ring(context)
    people = {name: ring.approvers[name] for name in gate.people or ring.approvers if name in ring.approvers}
    names = {key.fingerprint: name for name, key in people.items()}
    found = evidence.findings(context, ring.known)
    built = evidence.builders_of(found, context.release.id)
    for each, statement in verify.signed(found, statements.APPROVAL):
        try:
            approval = predicates.approval(statement.predicate)
            ends = _ends(approval, gate)
            expires = written(ends)
        except (ValueError, OverflowError):  # no approval, or of a year that the calendar does not have
            continue
        if each.by in names and approval.stage == context.stage.name:
            fault = _builder(each.by, built, ring) or _fault(approval, ends, context)
            yield Said(approver=names[each.by], approval=approval, evidence=each.evidence, expires=expires, fault=fault)


def _builder(key: str, built: Collection[str], ring: Keyring) -> str:
    """Why an approval by this key does not count: it signed the build, or may have signed it. "" if it did not."""
    if key in built:
        return "the same key signed the build"
    if not built and key in {each.fingerprint for each in ring.builders.values()}:
        return "its key is a builder's, and no signed provenance says who made the build"
    return ""


def _ends(approval: Approval, gate: ApprovalGate) -> dt.datetime:
    """When an approval stops counting: as it says itself, or earlier by the gate."""
    own = moment(approval.expires)
    by_gate = expiry(approval.issued, gate.expires)
    if own.tzinfo is None or moment(approval.issued).tzinfo is None:
        raise ValueError("a time without its zone")
    return min(own, moment(by_gate)) if by_gate else own


def _fault(approval: Approval, ends: dt.datetime, context: GateContext) -> str:
    if approval.release != context.release.id:
        return "it is for another release"
    if not approval.parts or approval.deployment != coverage.digest(approval.parts):
        return "it does not say what was approved, as those of earlier versions of devbox"
    if change := coverage.void(approval.parts, context.deployment):
        return change
    if approval.policy != context.policy:
        return "it was given under another policy"
    if moment(approval.issued) > context.now + _SKEW:
        return "it is from the future"
    return f"it counted until {told(written(ends))}" if ends <= context.now else ""


_SKEW = dt.timedelta(minutes=5)  # between the clocks of two machines
