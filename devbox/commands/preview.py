"""Promotions before any change: the verdicts of `why`, and the steps of `promote --dry-run`."""

from __future__ import annotations

from devbox.commands.approvals import ReleaseSelection
from devbox.commands.promote import PromotionContext, TargetSelector, adopt, ignore_event, open_context
from devbox.commands.promotion_records import PromotionRecorder
from devbox.deploy import operations
from devbox.deploy.gray import GRAY, select_target
from devbox.deploy.targets.local import LocalTarget
from devbox.execute.events import Note, Sink
from devbox.model.frozen import dataclass
from devbox.model.plan import PASS, PENDING, Plan, Verdict
from devbox.model.release import SHORT
from devbox.model.stage import Deployment
from devbox.project import Project
from devbox.promotion import plan


@dataclass(frozen=True, kw_only=True)
class PromotionPreview:
    """A promotion that is not begun. `plan`: of its containers, empty if the stage runs the deployment."""

    deployment: Deployment
    verdicts: tuple[Verdict, ...]
    plan: Plan

    @property
    def is_allowed(self) -> bool:
        """True if no gate blocks the promotion."""
        return all(verdict.verdict == PASS for verdict in self.verdicts)

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """All steps with their reasons, in order; () if there is nothing to do."""
        stage, image = self.deployment.stage, self.deployment.release.image.removeprefix("sha256:")[:SHORT]
        if not self.plan:
            return ()
        copied = [(f"copy {image}", f"to {stage.repository}")] if stage.repository else []
        shares = " → ".join(f"{share:g} %" for share in (*stage.strategy.steps, 100))
        shifted = [("shift clients", shares)] if stage.strategy.kind == GRAY else []
        planned = [(step.id, step.reason) for step in self.plan.steps]
        return (*copied, *planned, *shifted, (f"record {stage.name}", "in the ledger, and with the image"))


def explain_stage(project: Project, *, stage: str, release: str = "", sink: Sink | None = None) -> tuple[Verdict, ...]:
    """Return the verdicts about a promotion without changes. `sink` receives notes."""
    context, selected = _select(project, stage, release, sink or ignore_event)
    return _judge(context, selected, sink or ignore_event)


def preview_promotion(
    project: Project,
    *,
    stage: str,
    release: str = "",
    sink: Sink,
    environments: TargetSelector = select_target,
) -> PromotionPreview:
    """Return the verdicts about a promotion, and its steps, without changes. `sink` receives notes."""
    context, selected = _select(project, stage, release, sink)
    verdicts = _judge(context, selected, sink)
    deployment = Deployment(release=selected.release, stage=context.stage)
    observed = environments(project, context.resolved, context.stage).observe()
    planned = Plan(steps=())
    if plan.plan_promotion(deployment, selected.history, observed) is not None:
        target = LocalTarget(project, context.stage.environment, allowed=context.resolved.allowed)
        planned = operations.plan_deployment(target, deployment)
    return PromotionPreview(deployment=deployment, verdicts=verdicts, plan=planned)


def _select(project: Project, stage: str, release: str, sink: Sink) -> tuple[PromotionContext, ReleaseSelection]:
    """Select the release, and note which one."""
    context = open_context(project, stage, acts=False)
    adopt(context.ledger, sink)
    selected = context.select_release(release, sink)
    standing = _describe_standing(selected, stage)
    sink(Note(text=f"release {selected.release.short_id}{standing}" if standing else selected.choice))
    return context, selected


def _judge(context: PromotionContext, selected: ReleaseSelection, sink: Sink) -> tuple[Verdict, ...]:
    """Return the verdicts of all gates, and of a process that holds the environment."""
    recorder = PromotionRecorder(context.project, context.resolved, context.stage, None, sink)
    recorder.check(selected.history.entries, selected.release.image)
    verdicts = context.judge_release(selected)
    if holder := context.ledger.find_holder(context.stage.environment):
        held = Verdict(subject=f"target {context.stage.environment}", verdict=PENDING, reason=f"held by {holder}")
        return (*verdicts, held)
    return verdicts


def _describe_standing(selected: ReleaseSelection, stage: str) -> str:
    """Describe the state of a release in a stage, as the end of a sentence."""
    moving, current = selected.history.find_pending(stage), selected.history.find_current(stage)
    if moving is not None and moving.release == selected.release.id:
        return f", whose promotion to {stage} is in progress; resume with: devbox promote {stage}"
    if current is not None and current.release == selected.release.id:
        return f", which {stage} runs"
    return ""
