"""Promotion attempt, step by step: each step is in the ledger before the next begins.

After a kill within or between steps, the attempt is open; `plan` decides how the next command ends it. All steps are
idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from devbox.errors import Denied, DevboxError, EngineError, LedgerDamaged, TargetLocked
from devbox.execute.events import Note, Sink
from devbox.model import codec
from devbox.model.frozen import dataclass
from devbox.model.ledger import APPLIED, COPIED, FAILED, INTENT, RUNNING, LedgerEntry
from devbox.model.ledger_payloads import (
    AppliedPayload,
    CopiedPayload,
    FailedPayload,
    IntentPayload,
    LedgerPayload,
    LostRequests,
    ReplacedRelease,
    RunningPayload,
    SignedRecord,
)
from devbox.model.plan import Verdict
from devbox.model.stage import Counts, Deployment, StageObserved
from devbox.promotion import admission, plan, stage_records
from devbox.promotion.history import REPAIR, History
from devbox.promotion.plan import PromotionPlan
from devbox.promotion.target import StageTarget
from devbox.records.leases import Lease
from devbox.records.ledger import Ledger

Copy = Callable[[Deployment], CopiedPayload]  # to the stage's repository
Attest = Callable[[LedgerEntry, Sequence[LedgerEntry]], SignedRecord]  # of an attempt, from its intent and steps

_AHEAD = 1 << 20  # maximum clock distance of hosts that have not learned of each other


@dataclass(frozen=True, kw_only=True)
class PromotionDeps:
    """Dependencies of an attempt: the target, the copy, and the attested record attached to the image.

    `learn`: adds the records of other hosts.
    """

    environment: StageTarget
    copy: Copy
    attest: Attest
    learn: Callable[[], None] = lambda: None


class PromotionAttempt:
    """An attempt in progress, by the process that holds the stage's lease."""

    def __init__(self, planned: PromotionPlan, ledger: Ledger, lease: Lease, means: PromotionDeps, sink: Sink) -> None:
        self._planned = planned
        self._deployment = planned.deployment
        self._ledger = ledger
        self._lease = lease
        self._means = means
        self._sink = sink
        self._clock = 0

    def run(self, *, policy: str, verdicts: Sequence[Verdict]) -> LedgerEntry:
        """Run the remaining steps; return the applied entry. On failure, undo as much as possible."""
        self._clock = stage_records.compute_next_clock(self._ledger.read_entries())
        self._give_up_other()
        if self._planned.needs_step(INTENT):
            self._append_entry(INTENT, self._build_intent(policy, verdicts))
        try:
            if self._planned.needs_step(COPIED):
                self._append_entry(COPIED, self._means.copy(self._deployment))
            self._deploy()
        except (TargetLocked, LedgerDamaged):
            raise  # the new holder of the stage decides
        except DevboxError as error:
            self.fail(error.sentence)
            raise
        except KeyboardInterrupt:
            stage = self._deployment.stage.name
            self._sink(
                Note(text=f"{stage} is unfinished; resume it: devbox promote {stage}; undo it: devbox rollback {stage}")
            )
            raise
        return self._append_entry(APPLIED, self._build_applied())

    def fail(self, reason: str) -> LedgerEntry:
        """Record the failure and restore the previous deployment, if any."""
        before = self._read_history().find_current(self._deployment.stage.name)
        desired = plan.load_deployment(before, self._read_history()) if before else None
        back = desired.release.id if desired else ""
        try:
            self._restore(desired)
        except DevboxError as error:  # report the first failure; the next command repairs the stage
            self._sink(Note(text=f"cannot restore {self._deployment.stage.name}: {error.sentence}"))
            return self._append_entry(FAILED, FailedPayload(reason=reason, runs="", restored=False))
        return self._append_entry(FAILED, FailedPayload(reason=reason, runs=back))

    def _restore(self, before: Deployment | None) -> None:
        self._lease.renew()
        if before is None:
            self._means.environment.retire()
        elif not plan.runs(self._means.environment.observe(), before):
            self._means.environment.deploy(before, self._sink)

    def _deploy(self) -> None:
        """Deploy, and verify by the state that the runtime reports."""
        environment, desired = self._means.environment, self._deployment
        if not self._planned.needs_step(RUNNING) and plan.runs(environment.observe(), desired):
            return
        self._lease.renew()
        self._check_not_revoked()
        environment.deploy(desired, self._sink, verify=self._planned.operation == plan.PROMOTE)
        self._check_not_revoked()
        seen = environment.observe()
        if not plan.runs(seen, desired):
            raise EngineError(
                f"{desired.stage.name} does not run the requested release: {_describe_observed(seen.digests, desired)}",
                remedy=f"devbox ps --stage {desired.stage.name}",
            )
        lost = LostRequests.from_counts(self._count_lost(seen))
        self._append_entry(RUNNING, RunningPayload(digests=seen.digests, address=seen.address, **vars(lost)))

    def _check_not_revoked(self) -> None:
        """Raise Denied if the release was revoked meanwhile, on any host: a gray release takes hours."""
        if self._planned.operation != plan.PROMOTE:
            return
        self._means.learn()
        if found := admission.check_not_revoked(self._deployment.release, self._read_history()):
            stage = self._deployment.stage.name
            raise Denied(
                f"cannot promote {self._deployment.release.short_id} to {stage}: {found[0].reason}",
                remedy=f"devbox why {stage}",
            )

    def _count_lost(self, seen: StageObserved) -> Counts | None:
        """Return the requests lost since the start of the attempt; None if unknown."""
        intent = IntentPayload.read(next(entry for entry in reversed(self._list_own_entries()) if entry.kind == INTENT))
        return seen.counts.subtract(intent.counts) if seen.counts and intent.knows_counts else None

    def _build_intent(self, policy: str, verdicts: Sequence[Verdict]) -> IntentPayload:
        before = self._read_history().find_current(self._deployment.stage.name)
        return IntentPayload(
            operation=self._planned.operation,
            deployment=codec.dump(self._deployment),
            config=self._deployment.config_digest,
            policy=policy,
            gates=codec.dump(list(verdicts)),
            replaces=ReplacedRelease(release=before.release, seq=before.seq) if before else None,
            back_to=self._planned.back_to,
            repairs=self._planned.repairs,
            counts=self._means.environment.observe().counts,
        )

    def _build_applied(self) -> AppliedPayload:
        own = self._list_own_entries()
        intent = next(entry for entry in reversed(own) if entry.kind == INTENT)
        steps = [entry for entry in own if entry.seq > intent.seq]
        attestation = self._means.attest(intent, steps)
        begun = IntentPayload.read(intent)
        # A promotion's clock is that of its intent; a rollback's is later than unknown decisions of others.
        is_promotion = self._planned.operation == plan.PROMOTE
        now = stage_records.compute_next_clock(self._ledger.read_entries()) + _AHEAD
        return AppliedPayload(
            operation=REPAIR if begun.repairs else begun.operation,
            config=begun.config,
            back_to=begun.back_to,
            left=begun.replaces.release if begun.replaces else "",
            clock=self._clock if is_promotion else now,
            intent=intent.seq,
            image=self._deployment.release.image,
            **vars(find_last_losses(steps)),
            **vars(attestation),
        )

    def _list_own_entries(self) -> list[LedgerEntry]:
        """Return the entries of this attempt, oldest first."""
        key = (self._deployment.stage.name, self._deployment.release.id, self._planned.attempt)
        return [entry for entry in self._ledger.read_entries() if (entry.stage, entry.release, entry.attempt) == key]

    def _give_up_other(self) -> None:
        """End an interrupted attempt that is superseded."""
        other = self._planned.gives_up
        if other is not None:
            desired = f"{self._planned.operation} {self._deployment.release.short_id}"
            payload = FailedPayload(reason=f"interrupted, then superseded by: {desired}", runs="", restored=False)
            self._ledger.append(
                FAILED,
                release=other.release,
                stage=other.stage,
                attempt=other.attempt,
                body=payload.to_body(),
                lease=self._lease,
            )

    def _append_entry(self, kind: str, payload: LedgerPayload) -> LedgerEntry:
        return self._ledger.append(
            kind,
            release=self._deployment.release.id,
            stage=self._deployment.stage.name,
            attempt=self._planned.attempt,
            body=payload.to_body(),
            lease=self._lease,
        )

    def _read_history(self) -> History:
        return History(self._ledger.read_entries())


def find_last_losses(steps: Sequence[LedgerEntry]) -> LostRequests:
    """Return the lost requests of an attempt from its steps."""
    found = [LostRequests.read(entry) for entry in steps if entry.kind == RUNNING]
    return found[-1] if found else LostRequests()


def _describe_observed(digests: Mapping[str, str], deployment: Deployment) -> str:
    other = [f"{name} runs {digest}" for name, digest in digests.items() if digest != deployment.release.image]
    return "; ".join(other) or "unhealthy, or another release gets its traffic"
