"""Judgment of all gates of a stage, by the table of `model.gate_kinds`.

Evidence that is missing, failed, erroneous or expired never passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devbox.errors import DevboxError
from devbox.model import gate_kinds
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.stage import Gate
from devbox.promotion.gates import evidence
from devbox.promotion.gates.context import GateContext, format_time, parse_time

Judge = Callable[[Any, GateContext], Verdict]  # its subject is the gate's kind with its distinguishing arguments


def judge(gate: Gate, context: GateContext) -> Verdict:
    """Return the verdict of one gate about a release to be promoted to a stage."""
    kind = gate_kinds.GATES.get(gate.op)
    if kind is None:
        return Verdict(subject=gate.op, verdict=FAIL, reason="not supported by this version of devbox")
    function: Judge = gate_kinds.load(kind.judge)
    try:
        verdict = function(gate, context)
    except DevboxError as error:
        return Verdict(subject=gate.op, verdict=FAIL, reason=error.sentence)
    except OSError as error:
        return Verdict(subject=gate.op, verdict=FAIL, reason=f"cannot read its evidence: {error.strerror or error}")
    if verdict.verdict == PASS and verdict.expires_at and parse_time(verdict.expires_at) <= context.now:
        return replace(verdict, verdict=PENDING, reason=f"{verdict.reason}, expired {format_time(verdict.expires_at)}")
    return verdict


def judge_all(context: GateContext) -> tuple[Verdict, ...]:
    """Return the verdicts of all gates of the stage in file order, preceded by a revocation, if any.

    A revocation by another host is attached to the image and may be missing in the local ledger.
    """
    return (*_judge_revocation(context), *(judge(gate, context) for gate in context.stage.gates))


def _judge_revocation(context: GateContext) -> tuple[Verdict, ...]:
    try:
        revocation = evidence.find_revocation(context)
    except DevboxError as error:
        return (Verdict(subject="revocation", verdict=FAIL, reason=error.sentence),)
    return (Verdict(subject="revocation", verdict=FAIL, reason=f"revoked: {revocation.reason}"),) if revocation else ()
