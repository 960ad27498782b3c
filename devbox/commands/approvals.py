"""Implementation of `approve`, and selection of the release for a stage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace

from devbox.attest import attachments, statements, verify
from devbox.commands import signing as verbs
from devbox.commands.remote_history import RemoteHistory
from devbox.commands.stage_chains import StageChains
from devbox.deploy.stage_file import find_stage
from devbox.envfile import stage_services
from devbox.envfile.load import load as read
from devbox.errors import SigningError, UsageError
from devbox.execute.events import Note, Sink
from devbox.model.frozen import dataclass
from devbox.model.ledger import APPROVED, LedgerEntry
from devbox.model.ledger_payloads import ApprovedPayload, read_shared
from devbox.model.release import SHORT, Release
from devbox.model.spec import Spec
from devbox.model.stage import ApprovalGate, Deployment, Stage
from devbox.project import Project
from devbox.promotion import admission, approval_scope, copying, plan, stage_records
from devbox.promotion.gates import evidence
from devbox.promotion.gates.context import format_timestamp
from devbox.promotion.history import History
from devbox.records import keyring
from devbox.records.ledger import Ledger
from devbox.records.releases import FEWEST_DIGITS, Releases


@dataclass(frozen=True, kw_only=True)
class ReleaseSelection:
    """The selected release and the known history. `missing`: stages with incomplete records, with the reason.

    `observed`: stage → release → seconds observed healthy by another host. `due`: stages whose records this host should
    sign again. `is_guess`: no name was given, and no release is known to have been in the stage before. `reason`: of
    the choice; "" for a named release.
    """

    release: Release
    history: History
    missing: Mapping[str, str]
    observed: Mapping[str, Mapping[str, float]]
    due: tuple[Stage, ...] = ()
    is_guess: bool = False
    reason: str = ""

    @property
    def choice(self) -> str:
        """Describe the release, and why it was chosen."""
        return f"release {self.release.short_id}{f': {self.reason}' if self.reason else ''}"

    def note_choice(self, sink: Sink) -> None:
        """Say which release was chosen, unless the user named it."""
        if self.reason:
            sink(Note(text=self.choice))


def select(project: Project, spec: Spec, stage: Stage, name: str, sink: Sink) -> ReleaseSelection:
    """Select a release, with its history here and in the registries.

    Without a name: the release in progress to the stage, else that of the previous stage, else the newest. For the
    first stage, only a release built here: others are unproven by a stage.
    """
    remote_history, ledger = RemoteHistory(project, spec, stage, sink), Ledger(project.paths, project.id)
    remote_history.learn_stages()
    history = History(ledger.read_entries())
    entry = _find_entry(name, history) if name else _find_next(stage, spec, history)
    if entry is None:
        remote_history.learn(remote_history.find_image(name))
    elif not remote_history.is_known(entry.release):
        remote_history.learn(_get_image(entry))
    before = admission.find_previous(stage, spec.stages)
    desired = name or (entry.release if entry else "")
    release = Releases(project.paths, project.id).find(desired, include_remote=before is not None)
    remote_history.learn(release.image)
    return ReleaseSelection(
        release=release,
        history=History(ledger.read_entries()),
        missing=remote_history.missing,
        observed=remote_history.observed,
        due=tuple(remote_history.due),
        is_guess=before is not None and not desired,
        reason="" if name else _explain_choice(entry, stage, before),
    )


def _explain_choice(entry: LedgerEntry | None, stage: Stage, before: Stage | None) -> str:
    """Return why a release without a name was chosen: it is in progress, in the previous stage, or the newest."""
    if before is None and entry is None:
        return "the newest built here"
    if before is None or (entry is not None and entry.stage == stage.name):
        return f"its promotion to {stage.name} is in progress"
    return f"{before.name} runs it" if entry is not None else "the newest one known"


def find_default(project: Project, spec: Spec, stage_name: str, name: str, sink: Sink) -> Release:
    """Return the named release, or the one that `promote STAGE` would take; notes say which one and why."""
    selected = select(project, spec, find_stage(spec, stage_name), name, sink)
    selected.note_choice(sink)
    return selected.release


def find_named(project: Project, spec: Spec, name: str, sink: Sink) -> Release:
    """Return a release by ID or leading digits; one known only to other hosts is fetched from repositories."""
    if not spec.stages:
        return Releases(project.paths, project.id).find(name)
    last = max(spec.stages.values(), key=lambda stage: stage.order)
    return select(project, spec, last, name, sink).release


def list_covered_parts(
    project: Project, spec: Spec, deployment: Deployment, *, home: Stage | None = None
) -> dict[str, str]:
    """Return the parts of a deployment covered by an approval, from the current file and keys.

    `home`: stage of the environment, if it differs from the file.
    """
    order = sorted(spec.stages.values(), key=lambda stage: stage.order)
    keys = keyring.list_identities(project.root, builders=spec.builders, approvers=spec.approvers)
    home = home or spec.stages.get(deployment.stage.environment)
    external = (home or deployment.stage).external
    needs = [need for need in deployment.release.config.needs if need not in external]
    env = read(project.root, file=project.env_file).select_stage(deployment.stage.environment) if needs else None
    services = stage_services.digest_services(env, needs) if env else {}
    names = [stage.name for stage in order]
    return approval_scope.list_parts(deployment, order=names, keys=keys, services=services, home=home)


def _find_entry(name: str, history: History) -> LedgerEntry | None:
    """Return an entry of the ledger's only release whose ID starts with the digits."""
    digits = name.removeprefix("sha256:")
    found = [entry for entry in history.entries if entry.release.removeprefix("sha256:").startswith(digits)]
    with_image = [entry for entry in found if _get_image(entry)]
    is_one = len({entry.release for entry in found}) == 1 and len(digits) >= FEWEST_DIGITS
    return with_image[-1] if is_one and with_image else None


def _get_image(entry: LedgerEntry) -> str:
    """Return the image of an entry's release; "" if the entry has none."""
    return read_shared(entry).image


def _find_next(stage: Stage, spec: Spec, history: History) -> LedgerEntry | None:
    """Return the entry of the release in progress or next in line."""
    before = admission.find_previous(stage, spec.stages)
    return history.find_pending(stage.name) or (history.find_latest(before.name) if before else None)


WEEK = 7 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class ApprovalResult:
    """A new approval. `evidence`: digest of the manifest that carries it.

    `differences`: from the stage's current deployment, one line each.
    """

    release: Release
    approval: statements.Approval
    evidence: str
    differences: tuple[str, ...]


def approve(
    project: Project,
    spec: Spec,
    stage_name: str,
    name: str,
    sink: Sink,
    *,
    key: str,
    ask: verbs.PassphrasePrompt | None,
    seconds: float = WEEK,
    comment: str = "",
) -> ApprovalResult:
    """Approve a release for a stage, deployed as in the current file; attach the approval to its image.

    Without a name, selects as `promote` does. Differences from the current deployment are notes.
    """
    stage = find_stage(spec, stage_name)
    selected = _select(project, spec, stage, name, sink)
    release, history = selected.release, selected.history
    selected.note_choice(sink)
    parts = list_covered_parts(project, spec, Deployment(release=release, stage=stage))
    differences = tuple(_describe_differences(project, spec, stage, parts, history))
    for line in differences:
        sink(Note(text=line))
    ring = verbs.read_keyring(project, spec)
    approvers = {ring.approvers[each].fingerprint: each for each in _list_approvers(spec, stage)}
    by = verbs.require_signer(project, spec, key, ask, among=approvers)
    fingerprint = by.signer.public.fingerprint
    if fingerprint not in approvers:
        raise UsageError(
            f"{by.name} cannot approve for {stage_name}: its approvers are {', '.join(approvers.values()) or '(none)'}",
            remedy=f"devbox approve {stage_name} --key NAME",
        )
    found = verify.list_findings(release.image, attachments.open_store(project.paths), ring.known_keys)
    if fingerprint in evidence.list_builders(found, release.id):
        raise SigningError(
            f"{approvers[fingerprint]} built this release and cannot approve it", remedy=f"devbox why {stage_name}"
        )
    now = dt.datetime.now(dt.UTC)
    approval = statements.Approval(
        release=release.id,
        stage=stage_name,
        policy=keyring.compute_stage_policy(stage, project.root, builders=spec.builders, approvers=spec.approvers),
        approver=approvers[fingerprint],
        issued=format_timestamp(now),
        expires=format_timestamp(now + dt.timedelta(seconds=seconds)),
        comment=comment,
        deployment=approval_scope.compute_digest(parts),
        parts=parts,
    )
    digest = verify.attach_statement(
        release.image, statements.APPROVAL, vars(approval), by.signer, name=spec.instance.name, paths=project.paths
    )
    clock = stage_records.compute_next_clock((ledger := Ledger(project.paths, project.id)).read_entries())
    body = ApprovedPayload(**vars(approval), evidence=digest, image=release.image, clock=clock).to_body()
    ledger.append(APPROVED, release=release.id, stage=stage_name, body=body)
    copying.send(release.image, spec.stages.values(), sink, paths=project.paths)
    StageChains(project, spec, sink).publish([stage], by.signer)
    return ApprovalResult(release=release, approval=approval, evidence=digest, differences=differences)


def _select(project: Project, spec: Spec, stage: Stage, name: str, sink: Sink) -> ReleaseSelection:
    """Select the release. UsageError if write access to DEVBOX_HOME would suffice to forge the selection."""
    found = select(project, spec, stage, name, sink)
    if found.is_guess:
        raise UsageError(
            f"missing argument: RELEASE (no release is known in the stage before {stage.name})",
            remedy=f"devbox approve {stage.name} RELEASE",
        )
    return found


def _describe_differences(
    project: Project, spec: Spec, stage: Stage, parts: dict[str, str], history: History
) -> Iterator[str]:
    """Describe the differences between the approved and the current deployment, one line each."""
    running, environment = _find_deployed(stage.name, history), _find_deployed(stage.environment, history)
    stands = history.find_latest(stage.name)
    if running is None and stands is not None:
        yield f"{stage.name} runs {stands.release.removeprefix('sha256:')[:SHORT]}, on another host: all may be new"
        return
    if running is None:
        yield f"{stage.name} runs nothing on this host: everything is new"
        return
    if environment is None:
        before = list_covered_parts(project, spec, running)
    else:  # of a stage that shifts traffic in another: clients use the release deployed in that one
        before = list_covered_parts(
            project, spec, replace(running, release=environment.release), home=environment.stage
        )
    found = approval_scope.list_differences(before, parts)
    if not found:
        yield f"{stage.name} already runs exactly this"
    for each in found:
        yield approval_scope.format_difference(*each)


def _find_deployed(name: str, history: History) -> Deployment | None:
    """Return this host's last deployment to a stage, if any."""
    current = history.find_current(name)
    return plan.load_deployment(current, history) if current else None


def _list_approvers(spec: Spec, stage: Stage) -> list[str]:
    """Return the approvers accepted by a stage's gates; all approvers if no gate requires approvals."""
    gates = [gate for gate in stage.gates if isinstance(gate, ApprovalGate)]
    named = [name for gate in gates for name in gate.people]
    if not gates or any(not gate.people for gate in gates):
        named = [*named, *spec.approvers]
    return [name for name in dict.fromkeys(named) if name in spec.approvers]
