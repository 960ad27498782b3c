"""Implementation of `promote` and `rollback`, with the ledger and the judgment of gates."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from devbox.commands.approvals import ReleaseSelection, list_covered_parts, select
from devbox.commands.promotion_records import PromotionRecorder
from devbox.commands.signing import NamedSigner
from devbox.commands.stage_chains import StageChains
from devbox.commands.test_evidence import ReleaseTests
from devbox.deploy import stage_file
from devbox.deploy.gray import select_target
from devbox.deploy.targets.local import LocalTarget
from devbox.envfile import host_access
from devbox.errors import Denied, DevboxError, EnvFileError, NotSupported, NotTrusted, UsageError
from devbox.execute.events import Event, Note, Sink
from devbox.execute.grant_checks import check_grants, check_release_grants
from devbox.images.registry import errors
from devbox.model.frozen import dataclass
from devbox.model.ledger import APPLIED, REVOKED, LedgerEntry
from devbox.model.ledger_payloads import SignedRecord
from devbox.model.plan import PASS, Verdict
from devbox.model.release import Release
from devbox.model.spec import Desired
from devbox.model.stage import Deployment, Stage
from devbox.project import Project, prepare
from devbox.promotion import admission, plan
from devbox.promotion import history as state_table
from devbox.promotion.attempt import PromotionAttempt, PromotionDeps
from devbox.promotion.copying import Copier
from devbox.promotion.gates.context import GateContext, SoakObservation, format_time
from devbox.promotion.gates.table import judge_all
from devbox.promotion.history import History
from devbox.promotion.target import StageTarget
from devbox.records import keyring
from devbox.records.ledger import Ledger
from devbox.records.observations import StageHealthRecord
from devbox.records.trust import TrustRecord

_URGENT = 10.0  # seconds that a rollback waits for revocations of other hosts

TargetSelector = Callable[[Project, Desired, Stage], StageTarget]


@dataclass(frozen=True, kw_only=True)
class PromotionResult:
    """Result of a promotion or rollback. `entry`: of the stage's release; `changed`: the entry is new."""

    deployment: Deployment
    entry: LedgerEntry
    changed: bool
    address: str


@dataclass(frozen=True, kw_only=True)
class PromotionContext:
    """A stage of an open project with its ledger."""

    project: Project
    resolved: Desired
    stage: Stage
    ledger: Ledger
    trusted: bool

    def read_history(self) -> History:
        """Read the ledger."""
        return History(self.ledger.read_entries())

    @property
    def policy(self) -> str:
        """Digest of the inputs of gates: the stage and the keys of the file."""
        builders, approvers = self.resolved.builders, self.resolved.approvers
        return keyring.compute_stage_policy(self.stage, self.project.root, builders=builders, approvers=approvers)

    def judge_release(self, selected: ReleaseSelection) -> tuple[Verdict, ...]:
        """Return the verdicts of admission and gates; pending if they depend on missing records."""
        release, history = selected.release, selected.history
        context = GateContext(
            release=release,
            stage=self.stage,
            policy=self.policy,
            history=history,
            now=dt.datetime.now(dt.UTC),
            instance=self.resolved.instance,
            approvers=self.resolved.approvers,
            builders=self.resolved.builders,
            paths=self.project.paths,
            store=self.project.store,
            trusted=self.trusted,
            allowed=self.resolved.allowed,
            deployment=list_covered_parts(self.project, self.resolved, Deployment(release=release, stage=self.stage)),
            observed=functools.partial(self._read_observed, selected),
            tests=functools.cache(lambda but: ReleaseTests(self.project).compute_identity(but)),
        )
        admitted = admission.admit(release, self.stage, self.resolved.stages, history)
        known = {verdict.subject for verdict in admitted}  # a revocation may be in the ledger and attached to the image
        judged = (*admitted, *(verdict for verdict in judge_all(context) if verdict.subject not in known))
        return admission.mark_incomplete(judged, self.stage, self.resolved.stages, selected.missing)

    def _read_observed(self, selected: ReleaseSelection, stage: str, release: str) -> SoakObservation:
        """Return the observed health of a stage with a release: here, or in signed records of another host."""
        watched, history = StageHealthRecord(self.project.paths, self.project.id), selected.history
        run = history.find_local_run(stage, release) if history.is_run_valid(stage, release) else None
        observed = selected.observed.get(stage, {}).get(release, 0.0)
        if run is None:
            return SoakObservation(seconds=observed, remote=True)
        seconds = max(watched.read_healthy_seconds(stage, run.hash), observed)
        return SoakObservation(seconds=seconds, healthy=watched.is_healthy(stage, run.hash))

    def record_healthy(self, release: Release) -> None:
        """Record that the stage is healthy now, from where its drift monitor continues."""
        run = self.read_history().find_local_run(self.stage.name, release.id)
        if run is not None:
            record = StageHealthRecord(self.project.paths, self.project.id)
            record.record_health(self.stage.name, run.hash, healthy=True)

    def select_release(self, name: str, sink: Sink) -> ReleaseSelection:
        """Select a release, with its history."""
        return select(self.project, self.resolved, self.stage, name, sink)

    def catch_up(self, sink: Sink, *, within: float = errors.ANSWER) -> None:
        """Fetch other hosts' records of the stage, or of all if it has no repository, within some seconds.

        A rollback is then ordered after them. Failures are notes and do not delay the rollback.
        """
        notes: list[Event] = []
        only = self.stage.name if self.stage.repository else ""
        chains = StageChains(self.project, self.resolved, notes.append)
        try:
            errors.run_with_timeout(lambda: chains.learn(only=only), most=within)
        except errors.TooSlow:
            notes.append(Note(text=f"not all records of {self.stage.name} are known: no response within {within:g} s"))
        except DevboxError as error:
            notes.append(Note(text=f"not all records of {self.stage.name} are known: {error.sentence}"))
        for note in tuple(notes):
            sink(note)

    def make_copier(self, sink: Sink) -> Copier:
        """Return the copier of images to the stage's repository."""
        before = [stage.repository for stage in self.resolved.stages.values() if stage.order < self.stage.order]
        return Copier(self.project.paths, [*before, self.stage.repository], sink)


def promote(
    project: Project,
    sink: Sink,
    *,
    stage: str,
    release: str = "",
    environments: TargetSelector = select_target,
    by: NamedSigner | None = None,
) -> PromotionResult:
    """Promote a release to a stage if its gates pass; an interrupted promotion is continued or ended.

    `by`: signer of the record.
    """
    context = open_context(project, stage, acts=True)
    stage_file.remember(project, context.resolved)
    adopt(context.ledger, sink)
    environment = environments(project, context.resolved, context.stage)
    purpose = f"promote {release or 'a release'} to {stage}"
    with context.ledger.acquire(context.stage.environment, purpose=purpose) as lease:
        selected = context.select_release(release, sink)
        release_to_promote, history = selected.release, selected.history
        selected.note_choice(sink)
        deployment = Deployment(release=release_to_promote, stage=context.stage)
        recorder = PromotionRecorder(project, context.resolved, context.stage, by, sink)
        recorder.check(history.entries, deployment.release.image)
        recorder.confirm(selected.due)
        planned = plan.plan_promotion(deployment, history, environment.observe())
        copier = context.make_copier(sink)
        if planned is None:
            if not admission.check_not_revoked(release_to_promote, history):
                copier.mark(deployment)
            recorder.publish(deployment.release.image)
            return _report_unchanged(deployment, history, environment)
        learn = functools.partial(context.catch_up, sink)
        means = PromotionDeps(environment=environment, copy=copier.copy, attest=recorder.record, learn=learn)
        move = PromotionAttempt(planned, context.ledger, lease, means, sink)
        verdicts = (
            context.judge_release(selected)
            if planned.asks
            else admission.check_not_revoked(deployment.release, history)
        )
        if any(verdict.verdict != PASS for verdict in verdicts):
            denial = _make_denied(deployment, verdicts)
            if planned.done:
                move.fail(denial.sentence)
            raise denial
        entry = move.run(policy=context.policy, verdicts=verdicts)
        context.record_healthy(deployment.release)
        copier.mark(deployment)
        recorder.publish(deployment.release.image)
        return PromotionResult(deployment=deployment, entry=entry, changed=True, address=environment.observe().address)


def rollback(
    project: Project,
    sink: Sink,
    *,
    stage: str,
    environments: TargetSelector = select_target,
    by: NamedSigner | None = None,
) -> PromotionResult:
    """Roll back a stage to its previous release and config, without checking gates."""
    context = open_context(project, stage, acts=False, sink=sink)  # access of the previous release has been allowed
    adopt(context.ledger, sink)
    environment = environments(project, context.resolved, context.stage)
    with context.ledger.acquire(context.stage.environment, purpose=f"roll back {stage}") as lease:
        context.catch_up(sink, within=_URGENT)
        history = context.read_history()
        planned = plan.plan_rollback(stage, history)
        recorder = PromotionRecorder(project, context.resolved, context.stage, by, sink)
        copier = context.make_copier(sink)

        def attest(intent: LedgerEntry, steps: Sequence[LedgerEntry]) -> SignedRecord:
            context.catch_up(sink)
            return recorder.record(intent, steps)

        means = PromotionDeps(environment=environment, copy=copier.ensure_image, attest=attest)
        if planned is None and (begun := plan.find_interrupted(stage, history)) is not None:
            PromotionAttempt(begun, context.ledger, lease, means, sink).fail("given up by a rollback")
            raise DevboxError(
                f"cannot roll back {stage}: no previous release; its interrupted promotion was ended, and nothing runs",
                remedy=f"devbox promote {stage}",
            )
        if planned is None:
            before = "before the current one" if history.find_current(stage) else "yet"
            raise UsageError(f"cannot roll back {stage}: it has run no release {before}", remedy="devbox release log")
        _check_reversible(stage, history)
        sink(Note(text=f"rolling back to {planned.deployment.release.short_id}"))
        move = PromotionAttempt(planned, context.ledger, lease, means, sink)
        entry = move.run(policy=context.policy, verdicts=())
        kept = replace(planned.deployment.stage, repository=context.stage.repository)  # a newer repository is possible
        copier.mark(replace(planned.deployment, stage=kept))
        recorder.publish(planned.deployment.release.image)
        return PromotionResult(
            deployment=planned.deployment, entry=entry, changed=True, address=environment.observe().address
        )


def read_current(project: Project, *, stage: str, environments: TargetSelector = select_target) -> PromotionResult:
    """Return the current release of a stage after an aborted promotion."""
    context = open_context(project, stage, acts=False, sink=ignore_event)
    history = context.read_history()
    entry = history.find_current(stage)
    deployment = plan.load_deployment(entry, history) if entry else None
    if entry is None or deployment is None:
        raise UsageError(f"{stage} runs nothing", remedy=f"devbox promote {stage}")
    address = environments(project, context.resolved, context.stage).observe().address
    return PromotionResult(deployment=deployment, entry=entry, changed=True, address=address)


def read_log(project: Project, sink: Sink | None = None) -> tuple[LedgerEntry, ...]:
    """Return the ledger of the project, oldest entry first."""
    ledger = Ledger(project.paths, project.id)
    entries = ledger.read_entries()
    adopt(ledger, sink or ignore_event)
    return entries


def adopt(ledger: Ledger, sink: Sink) -> None:
    """Authenticate entries of an earlier version once, with a note."""
    if number := ledger.adopt():
        sink(Note(text=f"authenticated {number} ledger entries of an earlier version"))


def list_states(project: Project) -> Mapping[str, Mapping[str, str]]:
    """Map release → stage → state: running, unsupervised, stopped, passed, failed, moving, rolled-back."""
    history = History(read_log(project))
    states = state_table.compute_states(history)
    for stages in states.values():
        for stage, state in stages.items():
            if state == state_table.RUNS:
                stages[stage] = _read_running_state(project, stage, history)
    return states


def list_revoked(project: Project) -> frozenset[str]:
    """Return the revoked releases."""
    return frozenset(entry.release for entry in read_log(project) if entry.kind == REVOKED)


def _read_running_state(project: Project, stage: str, history: History) -> str:
    """Return whether a stage's release runs and is supervised, from the runtime alone."""
    current = history.find_current(stage)
    deployment = plan.load_deployment(current, history) if current else None
    view = LocalTarget(project, deployment.stage.environment).read_view() if deployment else None
    if view is None or all(seen.state != "running" for seen in view.containers.values()):
        return state_table.STOPPED
    return state_table.RUNS if view.supervised else state_table.UNSUPERVISED


def open_context(project: Project, name: str, *, acts: bool, sink: Sink | None = None) -> PromotionContext:
    """Open the context of a stage; `acts`: check that changes are supported and allowed.

    Without `sink` the file must be valid; with it, an invalid file is replaced by that of the last promotion.
    """
    desired = stage_file.load_with_fallback(project, sink, fresh=True) if sink else prepare(project, fresh=True)
    stage = stage_file.find_stage(desired, name)
    required = host_access.list_stage_access(desired)
    allowed = TrustRecord(project.paths, project.id).covers_stages(required)
    if acts:
        _check_possible(stage)
        check_grants(project, desired)
        check_release_grants(project, desired)
    if acts and not allowed:
        raise NotTrusted(
            host_access.describe_refusal(required[0]),
            where=required[0].where,
            remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
        )
    return PromotionContext(
        project=project,
        resolved=desired.derive(allowed=required) if allowed else desired,
        stage=stage,
        ledger=Ledger(project.paths, project.id),
        trusted=allowed,
    )


def _check_possible(stage: Stage) -> None:
    if stage.target != "local":
        raise NotSupported(
            f"unsupported target in this version: {stage.target}", where=stage.where, remedy='target = "local"'
        )
    if stage.into and stage.strategy.kind != "gray":
        raise EnvFileError(
            f"[stage.{stage.name}] with into {stage.into} requires a strategy that shifts traffic",
            where=stage.where,
            remedy=f'add [stage.{stage.name}.strategy] with kind = "gray"',
        )


def _report_unchanged(deployment: Deployment, history: History, environment: StageTarget) -> PromotionResult:
    """Return the result of a no-op promotion."""
    entry = history.find_current(deployment.stage.name)
    assert entry is not None and entry.kind == APPLIED  # noqa: S101, PT018 - ensured by `plan_promotion`
    return PromotionResult(deployment=deployment, entry=entry, changed=False, address=environment.observe().address)


def _check_reversible(stage: str, history: History) -> None:
    current = history.find_current(stage)
    running = plan.load_deployment(current, history) if current else None
    if running is not None and running.stage.strategy.irreversible:
        raise Denied(
            f"cannot roll back {stage}: its release is irreversible",
            where=running.stage.where,
            remedy=f"promote a fixed release: devbox promote {stage}",
        )


def _make_denied(deployment: Deployment, verdicts: tuple[Verdict, ...]) -> Denied:
    against = [verdict for verdict in verdicts if verdict.verdict != PASS]
    when = [f", opens {format_time(verdict.opens_at)}" if verdict.opens_at else "" for verdict in against]
    return Denied(
        f"cannot promote {deployment.release.short_id} to {deployment.stage.name}: {against[0].reason}",
        where=deployment.stage.where,
        details="\n".join(
            f"{each.verdict}  {each.subject} — {each.reason}{opens}" for each, opens in zip(against, when, strict=True)
        ),
        remedy=f"devbox why {deployment.stage.name}",
    )


def ignore_event(event: Event) -> None:
    """Ignore an event."""
