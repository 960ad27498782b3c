"""The gate `tests`: the newest run of today's tests against this very image passed.

A run counts by the ledger of this machine, which the host's key authenticates, or by the word of a builder, signed and
attached to the image. What lies below DEVBOX_HOME besides counts for nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from devbox.attest import statements, verify
from devbox.model import codec
from devbox.model.entry import TESTED
from devbox.model.evidence import TestEvidence
from devbox.model.stage import TestsGate
from devbox.model.verdict import FAIL, PASS, PENDING, Verdict
from devbox.promotion.gates import evidence
from devbox.promotion.gates.contract import GateContext, expiry, moment, told

GREEN = ("passed", "flaky", "cached")
_SKEW = dt.timedelta(minutes=5)  # between the clocks of two machines
_AGAIN = "devbox test --against release"


def judge(gate: TestsGate, context: GateContext) -> Verdict:
    """Pending where today's tests were not run yet; a red run speaks against the image until a green one follows."""
    runs = sorted(_runs(context), key=lambda run: moment(run.at))[::-1]  # of two at once, the one entered later
    if not runs:
        return Verdict(subject=gate.op, verdict=PENDING, reason=f"the tests were not run against this image: {_AGAIN}")
    changes = [(run, run.differs(context.tests(run.but))) for run in runs]
    found = next((run for run, change in changes if not change), None)
    if found is None:
        run, change = changes[0]
        reason = f"the tests changed since they ran, {told(run.at)} ({change}): {_AGAIN}"
        return Verdict(subject=gate.op, verdict=PENDING, reason=reason, evidence=run.evidence)
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


def _runs(context: GateContext) -> Iterator[TestEvidence]:
    """The runs against this image that this host or a builder vouches for."""
    plain = [entry.body.get("run") for entry in context.history.of(TESTED)]
    if context.builders:
        found = evidence.findings(context, evidence.ring(context).of(context.builders))
        plain += [statement.predicate for _, statement in verify.signed(found, statements.TESTS)]
    for each in plain:
        try:
            run = codec.load(TestEvidence, each)
            is_known = run.digest == context.release.image and moment(run.at) <= context.now + _SKEW
        except (ValueError, TypeError, AttributeError):
            continue
        if is_known:
            yield run
