"""Gate `approval`: enough approvers have signed this deployment to this stage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator

from devbox.attest import statements, verify
from devbox.attest.statements import Approval
from devbox.model.frozen import dataclass
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.stage import ApprovalGate
from devbox.promotion import approval_scope
from devbox.promotion.gates import evidence
from devbox.promotion.gates.context import GateContext, compute_expiry, format_time, format_timestamp, parse_time
from devbox.records.keyring import Keyring


@dataclass(frozen=True, kw_only=True)
class SignedApproval:
    """A signed approval. `fault`: why it does not count; "" if it does."""

    approver: str
    approval: Approval
    evidence: str
    expires: str
    fault: str = ""


def judge(gate: ApprovalGate, context: GateContext) -> Verdict:
    """Judge whether enough approvals count. Several by one approver or key count once."""
    people = gate.people or tuple(context.approvers)
    approvals = list(list_approvals(gate, context))
    counting = {each.approver: each for each in approvals if not each.fault}
    have, subject = len(counting), "approval"
    if have >= gate.count:
        last = sorted(counting.values(), key=lambda each: each.expires)[-gate.count :]
        return Verdict(
            subject=subject,
            verdict=PASS,
            reason=f"approved by {', '.join(sorted(counting))}",
            evidence=evidence.join_digests(each.evidence for each in counting.values()),
            expires_at=min(each.expires for each in last),
        )
    able = [name for name in people if name in context.approvers]
    if len(able) < gate.count:
        return Verdict(
            subject=subject,
            verdict=FAIL,
            reason=f"{gate.count} approvals required, but only {len(able)} approvers allowed",
        )
    waiting = [name for name in able if name not in counting]
    missing = gate.count - have
    whom = ", ".join(waiting) if missing == len(waiting) else f"{missing} of {', '.join(waiting)}"
    reason = f"{have} of {gate.count} approved; waiting for {whom}: devbox approve {context.stage.name}"
    faults = "; ".join(f"approval of {each.approver} does not count: {each.fault}" for each in approvals if each.fault)
    return Verdict(subject=subject, verdict=PENDING, reason=f"{reason}; {faults}" if faults else reason)


def list_approvals(gate: ApprovalGate, context: GateContext) -> Iterator[SignedApproval]:
    """Yield all signed approvals of this stage, including those that do not count."""
    ring = evidence.read_keyring(context)
    people = {name: ring.approvers[name] for name in gate.people or ring.approvers if name in ring.approvers}
    names = {key.fingerprint: name for name, key in people.items()}
    found = evidence.list_findings(context, ring.known_keys)
    built = evidence.list_builders(found, context.release.id)
    for each, statement in verify.list_signed(found, statements.APPROVAL):
        try:
            approval = statements.read_approval(statement.predicate)
            ends = _compute_end(approval, gate)
            expires = format_timestamp(ends)
        except (ValueError, OverflowError):  # not an approval, or a year beyond the calendar
            continue
        if each.by in names and approval.stage == context.stage.name:
            fault = _check_builder(each.by, built, ring) or _find_fault(approval, ends, context)
            yield SignedApproval(
                approver=names[each.by], approval=approval, evidence=each.evidence, expires=expires, fault=fault
            )


def _check_builder(key: str, built: Collection[str], ring: Keyring) -> str:
    """Return why an approval by this key does not count: its owner may have built the release; "" if it counts."""
    if key in built:
        return "the same key signed the build"
    if not built and key in {each.fingerprint for each in ring.builders.values()}:
        return "its key is a builder's, and no signed provenance identifies the builder"
    return ""


def _compute_end(approval: Approval, gate: ApprovalGate) -> dt.datetime:
    """Return the expiry of an approval: its own, or earlier by the gate."""
    own = parse_time(approval.expires)
    by_gate = compute_expiry(approval.issued, gate.expires)
    if own.tzinfo is None or parse_time(approval.issued).tzinfo is None:
        raise ValueError("missing time zone")
    return min(own, parse_time(by_gate)) if by_gate else own


def _find_fault(approval: Approval, ends: dt.datetime, context: GateContext) -> str:
    if approval.release != context.release.id:
        return "issued for another release"
    if not approval.parts or approval.deployment != approval_scope.compute_digest(approval.parts):
        return "issued by an earlier version of devbox, without stating what was approved"
    if change := approval_scope.explain_void(approval.parts, context.deployment):
        return change
    if approval.policy != context.policy:
        return "issued under another policy"
    if parse_time(approval.issued) > context.now + _SKEW:
        return "issued in the future"
    return f"expired {format_time(format_timestamp(ends))}" if ends <= context.now else ""


_SKEW = dt.timedelta(minutes=5)  # between the clocks of two hosts
