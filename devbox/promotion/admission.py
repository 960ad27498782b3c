"""Admission of a release to a stage before its gates: stage order and revocations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.model.ledger_payloads import read_shared
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.release import Release
from devbox.model.stage import SoakGate, Stage
from devbox.promotion.gates.context import format_time
from devbox.promotion.history import History, find_time


def admit(release: Release, stage: Stage, stages: Mapping[str, Stage], history: History) -> tuple[Verdict, ...]:
    """Return the verdicts of all admission checks."""
    return (*check_not_revoked(release, history), *_check_order(release, stage, stages, history))


def find_previous(stage: Stage, stages: Mapping[str, Stage]) -> Stage | None:
    """Return the stage that a release must have passed before."""
    return next((each for each in stages.values() if each.order == stage.order - 1), None)


def check_not_revoked(release: Release, history: History) -> tuple[Verdict, ...]:
    """Return a failing verdict for a revoked release; otherwise none."""
    entry = history.find_revocation(release.id)
    if entry is None:
        return ()
    why = read_shared(entry).reason
    reason = f"the release was revoked, {format_time(entry.at)}{f': {why}' if why else ''}"
    return (Verdict(subject="revocation", verdict=FAIL, reason=reason, evidence=entry.hash),)


def _check_order(release: Release, stage: Stage, stages: Mapping[str, Stage], history: History) -> tuple[Verdict, ...]:
    before = find_previous(stage, stages)
    if before is None:
        return ()
    subject = f"passed {before.name}"
    passed = history.list_passes(before.name, release.id)
    if not passed:
        under_way = history.find_pending(before.name)
        if under_way is not None and under_way.release == release.id:
            reason = f"its promotion to {before.name} is unfinished; resume it with: devbox promote {before.name}"
        else:
            reason = f"the release has not been in {before.name}: devbox promote {before.name}"
            if not before.repository and stage.repository:
                reason += f" (as far as the host knows: [stage.{before.name}] has no repository)"
        return (Verdict(subject=subject, verdict=PENDING, reason=reason),)
    if back := history.find_rollback(before.name, release.id):
        reason = f"rolled back from {before.name}, {format_time(find_time(back))}"
        return (Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=back.hash),)
    reason = f"in {before.name} since {format_time(find_time(passed[-1]))}"
    return (Verdict(subject=subject, verdict=PASS, reason=reason, evidence=passed[-1].hash),)


def mark_incomplete(
    verdicts: Iterable[Verdict], stage: Stage, stages: Mapping[str, Stage], missing: Mapping[str, str]
) -> tuple[Verdict, ...]:
    """Set verdicts to pending if they rest on a stage whose records are incomplete, with the reason.

    Required are the complete records of the stage, the one before it, and those of soak gates.
    """
    before = find_previous(stage, stages)
    soaking = [gate.stage for gate in stage.gates if isinstance(gate, SoakGate)]
    every = dict.fromkeys([stage.name, *([before.name] if before else []), *soaking])
    needed = [name for name in every if name in missing]
    found = []
    for verdict in verdicts:
        what, _, name = verdict.subject.partition(" ")
        doubtful = name in needed and (verdict.verdict == PASS or (verdict.verdict, what) == (PENDING, "passed"))
        found.append(replace(verdict, verdict=PENDING, reason=missing[name]) if doubtful else verdict)
    unread = [Verdict(subject=f"records {name}", verdict=PENDING, reason=missing[name]) for name in needed]
    return (*found, *unread)
