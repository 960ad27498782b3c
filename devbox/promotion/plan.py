"""Plan of a promotion or rollback, from the ledger. Pure.

It is an attempt of a few steps, each recorded in the ledger when it is done. After a kill, the next command continues
the attempt if it is about the same deployment, and ends it otherwise.
"""

from __future__ import annotations

from dataclasses import replace

from devbox.errors import DevboxError
from devbox.model.frozen import dataclass
from devbox.model.ledger import COPIED, INTENT, RUNNING, LedgerEntry
from devbox.model.ledger_payloads import AppliedPayload, IntentPayload
from devbox.model.stage import Deployment, Stage, StageObserved
from devbox.promotion.history import ROLLBACK, History

PROMOTE = "promote"
STEPS = (INTENT, COPIED, RUNNING)  # of an attempt, in order


@dataclass(frozen=True, kw_only=True)
class PromotionPlan:
    """One promotion or rollback. `done`: last completed step of this attempt, "" for a new one.

    `gives_up`: newest step of another attempt that ends here. `asks`: whether gates are judged. `back_to`: number of
    the entry that first applied a rollback's target. `repairs`: restarts the stage's recorded release.
    """

    operation: str
    deployment: Deployment
    attempt: int
    done: str = ""
    gives_up: LedgerEntry | None = None
    asks: bool = True
    back_to: int | None = None
    repairs: bool = False

    def needs_step(self, step: str) -> bool:
        """True if a step is still to be done."""
        return step not in STEPS[: STEPS.index(self.done) + 1] if self.done else True


def load_deployment(entry: LedgerEntry, history: History) -> Deployment | None:
    """Return the deployment of an attempt: image and config of its intent."""
    intent = history.find_intent(entry)
    return read_deployment(intent) if intent is not None else None


def read_deployment(intent: LedgerEntry) -> Deployment:
    """Return the deployment of an intent; raise DevboxError if another version of devbox wrote it."""
    found = IntentPayload.read(intent).load_deployment()
    if found is None:
        raise build_version_error(intent)
    return found


def build_version_error(entry: LedgerEntry) -> DevboxError:
    """Return the error for an entry that this version of devbox cannot read."""
    return DevboxError(
        f"entry {entry.seq} of the ledger was written by another version of devbox",
        remedy="upgrade devbox: pip install -U devbox-pipeline",
    )


def plan_promotion(deployment: Deployment, history: History, observed: StageObserved) -> PromotionPlan | None:
    """Plan a promotion; None if the stage already runs the deployment."""
    stage, release = deployment.stage.name, deployment.release.id
    pending = history.find_pending(stage)
    new = PromotionPlan(operation=PROMOTE, deployment=deployment, attempt=history.count_attempts(stage, release) + 1)
    if pending is not None:
        if _is_continued(pending, deployment, history):
            intent = history.find_intent(pending)
            repairs = intent is not None and IntentPayload.read(intent).repairs
            return PromotionPlan(
                operation=PROMOTE,
                deployment=deployment,
                attempt=pending.attempt,
                done=pending.kind,
                asks=pending.kind != RUNNING and not repairs,
                repairs=repairs,
            )
        return PromotionPlan(operation=PROMOTE, deployment=deployment, attempt=new.attempt, gives_up=pending)
    current = history.find_current(stage)
    if current is None or not _is_same(current, deployment, history):
        return new
    if runs(observed, deployment):
        return None
    return replace(new, asks=False, repairs=True)  # admitted before


def plan_rollback(stage: str, history: History) -> PromotionPlan | None:
    """Plan a rollback to the previous release, or away from one in progress. None without a target."""
    pending = history.find_pending(stage)
    if pending is not None and _read_operation(pending, history) == ROLLBACK:
        intent, desired = history.find_intent(pending), load_deployment(pending, history)
        if intent is None or desired is None:
            return None
        return PromotionPlan(
            operation=ROLLBACK,
            deployment=desired,
            attempt=pending.attempt,
            done=pending.kind,
            asks=False,
            back_to=IntentPayload.read(intent).back_to,
        )
    is_half_way = pending is not None or history.is_unsettled(stage)
    goal = history.find_current(stage) if is_half_way else history.find_previous(stage)
    desired = load_deployment(goal, history) if goal is not None else None
    if goal is None or desired is None:
        return None
    return PromotionPlan(
        operation=ROLLBACK,
        deployment=desired,
        attempt=history.count_attempts(stage, desired.release.id) + 1,
        gives_up=pending,
        asks=False,
        back_to=AppliedPayload.read(goal).back_to or goal.seq,
    )


def find_interrupted(stage: str, history: History) -> PromotionPlan | None:
    """Return the interrupted promotion or rollback, unchanged; None if no attempt is open."""
    pending = history.find_pending(stage)
    desired = load_deployment(pending, history) if pending else None
    if pending is None or desired is None:
        return None
    operation = _read_operation(pending, history)
    return PromotionPlan(operation=operation, deployment=desired, attempt=pending.attempt, done=pending.kind)


def runs(observed: StageObserved, deployment: Deployment) -> bool:
    """True if a stage runs exactly this deployment, by the runtime's report."""
    image = deployment.release.image
    same = (observed.release, observed.config) == (deployment.release.id, deployment.config_digest)
    return same and observed.healthy and all(digest == image for digest in observed.digests.values())


def _is_same(entry: LedgerEntry, deployment: Deployment, history: History) -> bool:
    intent = history.find_intent(entry)
    config = IntentPayload.read(intent).config if intent is not None else None
    return (entry.release, config) == (deployment.release.id, deployment.config_digest)


def _is_continued(pending: LedgerEntry, deployment: Deployment, history: History) -> bool:
    """True if an attempt is this promotion: its recorded deployment is the one to deploy.

    One that has deployed is continued even if the strategy of its stage has changed.
    """
    if _read_operation(pending, history) != PROMOTE or not _is_same(pending, deployment, history):
        return False
    try:
        known = load_deployment(pending, history)
    except DevboxError:  # recorded by another version: start over
        known = None
    return pending.kind == RUNNING or (known is not None and _strip_location(known) == _strip_location(deployment))


def _strip_location(deployment: Deployment) -> Stage:
    """Return its stage without the location in the file."""
    return replace(deployment.stage, where="")


def _read_operation(entry: LedgerEntry, history: History) -> str:
    intent = history.find_intent(entry)
    return IntentPayload.read(intent).operation if intent else ""
