"""The gate `tests`: the newest run of today's tests against this very image passed.

A run counts by the ledger of this machine, which the host's key authenticates, or by the word of a builder, signed and
attached to the image. A run that failed by such a word is kept in the ledger: deleting the attachment changes nothing.
Other files below DEVBOX_HOME are not read.
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
from devbox.promotion.gates.contract import GateContext, expiry, moment, told, written

GREEN = ("passed", "flaky", "cached")
_SKEW = dt.timedelta(minutes=5)  # between the clocks of two machines
_AGAIN = "devbox test --against release"


def judge(gate: TestsGate, context: GateContext) -> Verdict:
    """Pending where today's tests were not run yet; a red run speaks against the image until a green one follows."""
    runs = sorted((*_own(context), *_by_builders(context)), key=lambda each: each[0], reverse=True)
    if not runs:
        return Verdict(subject=gate.op, verdict=PENDING, reason=f"the tests were not run against this image: {_AGAIN}")
    changes = [(at, run, run.differs(context.tests(run.but))) for at, run in runs]
    at, found = next(((at, run) for at, run, change in changes if not change), (context.now, None))
    if found is None:
        _, run, change = changes[0]
        reason = f"the tests changed since they ran, {told(run.at)} ({change}): {_AGAIN}"
        return Verdict(subject=gate.op, verdict=PENDING, reason=reason, evidence=run.evidence)
    expires = expiry(written(at), gate.expires)
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


def _own(context: GateContext) -> list[tuple[dt.datetime, TestEvidence]]:
    """The runs against this image that this host entered, the last one first, each with its time.

    If the clock was set back in between, a run counts as earlier than those that were entered after it.
    """
    found: list[tuple[dt.datetime, TestEvidence]] = []
    latest = context.now + _SKEW
    for entry in reversed(context.history.of(TESTED)):
        run = _read(entry.body.get("run"), context) if "seen" not in entry.body else None
        if run is None or (run.passed and moment(run.at) > context.now + _SKEW):
            continue
        latest = min(latest, moment(run.at))
        found.append((latest, run))
    return found


def _by_builders(context: GateContext) -> Iterator[tuple[dt.datetime, TestEvidence]]:
    """The runs against this image by the signed word of builders, each with its time."""
    if not context.builders:
        return
    keys = evidence.ring(context).of(context.builders)
    plain = [statement.predicate for _, statement in verify.signed(evidence.findings(context, keys), statements.TESTS)]
    plain += [entry.body["run"] for entry in context.history.of(TESTED) if entry.body.get("key") in keys]
    mine = {run.evidence for _, run in _own(context)}
    for each in plain:
        run = _read(each, context)
        if run is not None and run.evidence not in mine and moment(run.at) <= context.now + _SKEW:
            yield moment(run.at), run


def _read(plain: object, context: GateContext) -> TestEvidence | None:
    """The run of a record, if it is one against this image."""
    try:
        run = codec.load(TestEvidence, plain)
        return run if run.digest == context.release.image and moment(run.at).tzinfo is not None else None
    except (ValueError, TypeError, AttributeError):
        return None
