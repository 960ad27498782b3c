"""Gate `tests`: the newest run of the current tests against this image passed.

A run counts by the local ledger, authenticated by the host key, or by a builder's signed record attached to the image.
A signed failure is kept in the ledger: deleting the attachment has no effect. Other files below DEVBOX_HOME are not
read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from devbox.attest import statements, verify
from devbox.model import codec
from devbox.model.ledger import TESTED, TestEvidence
from devbox.model.ledger_payloads import LearnedTestsPayload, TestedPayload, read_shared
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.stage import TestsGate
from devbox.promotion.gates import evidence
from devbox.promotion.gates.context import GateContext, compute_expiry, format_time, format_timestamp, parse_time

GREEN = ("passed", "flaky", "cached")
_SKEW = dt.timedelta(minutes=5)  # between the clocks of two hosts
_AGAIN = "devbox test --against release"


def judge(gate: TestsGate, context: GateContext) -> Verdict:
    """Return pending if the current tests have not run; a failed run counts until a later one passes."""
    runs = sorted((*_list_own_runs(context), *_list_signed_runs(context)), key=lambda each: each[0], reverse=True)
    if not runs:
        return Verdict(subject=gate.op, verdict=PENDING, reason=f"the tests were not run against this image: {_AGAIN}")
    changes = [(at, run, run.describe_difference(context.tests(run.but))) for at, run in runs]
    at, found = next(((at, run) for at, run, change in changes if not change), (context.now, None))
    if found is None:
        _, run, change = changes[0]
        reason = f"the tests changed since they ran, {format_time(run.at)} ({change}): {_AGAIN}"
        return Verdict(subject=gate.op, verdict=PENDING, reason=reason, evidence=run.evidence)
    expires = compute_expiry(format_timestamp(at), gate.expires)
    if found.passed:
        return Verdict(
            subject=gate.op,
            verdict=PASS,
            reason=f"{len(found.cells)} passed, {format_time(found.at)}",
            evidence=found.evidence,
            expires_at=expires,
        )
    red = [name for name, state in found.cells.items() if state not in GREEN]
    return Verdict(
        subject=gate.op,
        verdict=FAIL,
        reason=f"the tests failed, {format_time(found.at)}: {', '.join(red) or 'no cell was run'}",
        evidence=found.evidence,
        expires_at=expires,
    )


def _list_own_runs(context: GateContext) -> list[tuple[dt.datetime, TestEvidence]]:
    """Return the runs against this image recorded by this host, latest first, each with its time.

    If the clock was set back in between, a run counts as earlier than those recorded after it.
    """
    found: list[tuple[dt.datetime, TestEvidence]] = []
    latest = context.now + _SKEW
    for entry in reversed(context.history.list_entries(TESTED)):
        run = None if read_shared(entry).is_learned else _parse_run(TestedPayload.read(entry).run, context)
        if run is None or (run.passed and parse_time(run.at) > context.now + _SKEW):
            continue
        latest = min(latest, parse_time(run.at))
        found.append((latest, run))
    return found


def _list_signed_runs(context: GateContext) -> Iterator[tuple[dt.datetime, TestEvidence]]:
    """Yield the runs against this image in builders' signed records, each with its time."""
    if not context.builders:
        return
    keys = evidence.read_keyring(context).select_keys(context.builders)
    plain = [
        statement.predicate
        for _, statement in verify.list_signed(evidence.list_findings(context, keys), statements.TESTS)
    ]
    learned = (LearnedTestsPayload.read(entry) for entry in context.history.list_entries(TESTED))
    plain += [each.run for each in learned if each.key in keys]
    own = {run.evidence for _, run in _list_own_runs(context)}
    for each in plain:
        run = _parse_run(each, context)
        if run is not None and run.evidence not in own and parse_time(run.at) <= context.now + _SKEW:
            yield parse_time(run.at), run


def _parse_run(plain: object, context: GateContext) -> TestEvidence | None:
    """Parse the run of a record; None if it is not against this image."""
    try:
        run = codec.load(TestEvidence, plain)
        return run if run.digest == context.release.image and parse_time(run.at).tzinfo is not None else None
    except (ValueError, TypeError, AttributeError):
        return None
