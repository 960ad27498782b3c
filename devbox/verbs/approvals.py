"""The verb `approve`: a person lets a release into a stage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

from devbox.attest import attached, signing, statements, verify
from devbox.attest.predicates import Approval
from devbox.errors import SigningError, UsageError
from devbox.execute import exchange
from devbox.execute.events import Note, Sink
from devbox.frozen import dataclass
from devbox.model.entry import APPROVED
from devbox.model.release import SHORT, Release
from devbox.model.resolved import Resolved
from devbox.model.stage import ApprovalGate, Deployment, Stage
from devbox.opened import Project, stage_of
from devbox.promotion import course, coverage, stagerecords
from devbox.promotion.gates import evidence
from devbox.promotion.gates.contract import written
from devbox.promotion.history import History
from devbox.records import keyring
from devbox.records.ledger import Ledger
from devbox.verbs import signing as verbs
from devbox.verbs.keys import Ask
from devbox.verbs.selecting import Selected, covered, select
from devbox.verbs.stagechain import StageChains

WEEK = 7 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Approved:
    """An approval that was given. `evidence`: the digest of the manifest that carries it.

    `differences`: from what the stage runs, a line each.
    """

    release: Release
    approval: Approval
    evidence: str
    differences: tuple[str, ...]


def approve(
    opened: Project,
    resolved: Resolved,
    stage_name: str,
    name: str,
    sink: Sink,
    *,
    key: str,
    ask: Ask | None,
    seconds: float = WEEK,
    comment: str = "",
) -> Approved:
    """Approve a release for a stage, deployed as the file says now. The approval is attached to the release's image.

    Without a name, it is the release that `promote` would take. How it differs from what the stage runs is a note each.
    """
    stage = stage_of(resolved, stage_name)
    selected = _select(opened, resolved, stage, name, sink)
    release, history = selected.release, selected.history
    parts = covered(opened, resolved, Deployment(release=release, stage=stage))
    differences = tuple(_differences(opened, resolved, stage, parts, history))
    for line in differences:
        sink(Note(text=line))
    ring = verbs.ring(opened, resolved)
    people = {ring.approvers[each].fingerprint: each for each in _people(resolved, stage)}
    by = verbs.person(opened, resolved, key, ask, among=people)
    fingerprint = by.signer.public.fingerprint
    if fingerprint not in people:
        raise UsageError(
            f"{by.name} is none of those who approve for {stage_name}: {', '.join(people.values()) or 'nobody does'}",
            remedy=f"devbox approve {stage_name} --key NAME",
        )
    found = verify.findings(release.image, attached.store(opened.paths), ring.known)
    if fingerprint in evidence.builders_of(found, release.id):
        raise SigningError(
            f"{people[fingerprint]} built this release, and can't approve it", remedy=f"devbox why {stage_name}"
        )
    now = dt.datetime.now(dt.UTC)
    said = Approval(
        release=release.id,
        stage=stage_name,
        policy=keyring.policy(stage, opened.root, builders=resolved.builders, approvers=resolved.approvers),
        approver=people[fingerprint],
        issued=written(now),
        expires=written(now + dt.timedelta(seconds=seconds)),
        comment=comment,
        deployment=coverage.digest(parts),
        parts=parts,
    )
    told = signing.say(
        release.image, statements.APPROVAL, vars(said), by.signer, name=resolved.instance.name, paths=opened.paths
    )
    ledger = Ledger(opened.paths, opened.id)
    body = {**vars(said), "evidence": told, "image": release.image}
    body |= {"clock": stagerecords.next_clock(ledger.entries())}
    ledger.append(APPROVED, release=release.id, stage=stage_name, body=body)
    exchange.send(release.image, resolved.stages.values(), sink, paths=opened.paths)
    StageChains(opened, resolved, sink).publish([stage], by.signer)
    return Approved(release=release, approval=said, evidence=told, differences=differences)


def _select(opened: Project, resolved: Resolved, stage: Stage, name: str, sink: Sink) -> Selected:
    """Return the release that is meant. UsageError where anybody who can write below DEVBOX_HOME could have made it."""
    found = select(opened, resolved, stage, name, sink)
    if found.is_guess:
        raise UsageError(
            f"no release is known to have been in the stage before {stage.name}, so it is not clear which one is meant",
            remedy=f"devbox approve {stage.name} RELEASE",
        )
    return found


def _differences(
    opened: Project, resolved: Resolved, stage: Stage, parts: dict[str, str], history: History
) -> Iterator[str]:
    """What is approved, held against what the stage runs, a line each."""
    running, environment = _deployed(stage.name, history), _deployed(stage.environment, history)
    stands = history.stands(stage.name)
    if running is None and stands is not None:
        yield f"{stage.name} runs {stands.release.removeprefix('sha256:')[:SHORT]}, on another machine: all may be new"
        return
    if running is None:
        yield f"{stage.name} runs nothing on this machine: all of it is new"
        return
    if environment is None:
        before = covered(opened, resolved, running)
    else:  # of a stage that shifts traffic in another: what that one runs meets visitors, as it was deployed there
        before = covered(opened, resolved, replace(running, release=environment.release), home=environment.stage)
    found = coverage.differences(before, parts)
    if not found:
        yield f"{stage.name} runs exactly this"
    for each in found:
        yield coverage.shown(*each)


def _deployed(name: str, history: History) -> Deployment | None:
    """Return what this machine deployed last to a stage, if anything."""
    current = history.current(name)
    return course.deployed(current, history) if current else None


def _people(resolved: Resolved, stage: Stage) -> list[str]:
    """Whose approval the gates of a stage count; all approvers where no gate asks for one."""
    gates = [gate for gate in stage.gates if isinstance(gate, ApprovalGate)]
    named = [name for gate in gates for name in gate.people]
    if not gates or any(not gate.people for gate in gates):
        named = [*named, *resolved.approvers]
    return [name for name in dict.fromkeys(named) if name in resolved.approvers]
