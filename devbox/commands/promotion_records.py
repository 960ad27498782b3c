"""Signed records of promotions: attached to the image, they reveal a ledger without the entries they name.

Also `release refresh` and `release rebuild`: records of stages, confirmed for new hosts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from devbox.attest import attachments, envelopes, stage_chain, statements, verify
from devbox.attest.keys import PublicKey
from devbox.attest.statements import Promotion
from devbox.commands.signing import NamedSigner, PassphrasePrompt, choose_signer, read_keyring
from devbox.commands.stage_chains import StageChains
from devbox.errors import LedgerDamaged, RegistryError, SigningError, UsageError
from devbox.execute.events import Note, Sink
from devbox.images.registry import artifacts, reference
from devbox.images.store import documents
from devbox.model.frozen import dataclass
from devbox.model.ledger import LedgerEntry
from devbox.model.ledger_payloads import IntentPayload, RebuiltPayload, SignedRecord, read_shared
from devbox.model.spec import Spec
from devbox.model.stage import Stage
from devbox.project import Project, prepare
from devbox.promotion import copying, plan
from devbox.promotion.attempt import find_last_losses
from devbox.records.ledger import Ledger
from devbox.records.observations import ConfirmedRecord

_TAG, _DIGITS = "devbox-ledger-", 12
_REMEDY = "compare the ledger with a copy: promotions are refused until then"


def choose_promoter(project: Project, spec: Spec, key: str, ask: PassphrasePrompt | None) -> NamedSigner | None:
    """Return the signer of a record: the named key, else this host's builder key.

    Without one, this host's approver key.
    """
    known = read_keyring(project, spec)
    for those in (known.builders, known.approvers):
        if found := choose_signer(project, spec, key, ask, fitting={each.fingerprint for each in those.values()}):
            return found
    return None


class PromotionRecorder:
    """Recorder of one project's promotions to one stage; also reads earlier records."""

    def __init__(self, project: Project, spec: Spec, stage: Stage, by: NamedSigner | None, sink: Sink) -> None:
        self._project = project
        self._spec = spec
        self._stage = stage
        self._by = by
        self._sink = sink
        self._ledger = Ledger(project.paths, project.id)

    def gather(self, image: str) -> None:
        """Fetch attachments of an image by other hosts from the repositories of stages."""
        for stage in self._spec.stages.values():
            if attachments.open_store(self._project.paths).has_blob(image):
                with self._defer_errors("attachments of other hosts", stage):
                    copying.fetch(image, [stage], paths=self._project.paths)

    def record(self, intent: LedgerEntry, steps: Sequence[LedgerEntry]) -> SignedRecord:
        """Attach the record of an attempt to its image, once. Return its digest; "" without a key."""
        if self._by is None:
            return SignedRecord()
        image, signer = plan.read_deployment(intent).release.image, self._by.signer
        promotion = _make_promotion(intent, steps, ledger=self._read_ledger_id(), origin=self._find_origin())
        evidence = self._find_recorded(image, promotion, signer.public)
        if not evidence:
            name = self._spec.instance.name
            predicate = promotion.to_predicate()
            evidence = verify.attach_statement(
                image, statements.PROMOTION, predicate, signer, name=name, paths=self._project.paths
            )
        return SignedRecord(record=evidence, signed_by=self._by.name)

    def publish(self, image: str) -> None:
        """Push the image's attachments and the signed head of the ledger to the stage's repository."""
        signer = self._by.signer if self._by else None
        StageChains(self._project, self._spec, self._sink).publish([self._stage], signer)
        if self._by is None or not self._stage.repository:
            return
        with self._defer_errors("the record", self._stage):
            copying.send(image, [self._stage], self._sink, paths=self._project.paths)
        head = self._ledger.read_head()
        published = stage_chain.PublishedHead(
            project=self._spec.instance.name, seq=head.seq, hash=head.hash, at=head.at
        )
        raw = stage_chain.sign_head(published, self._by.signer)
        with self._defer_errors("the head of the ledger", self._stage):
            artifacts.push_artifact(
                raw,
                envelopes.BUNDLE_TYPE,
                self._make_reference(self._stage),
                oci=attachments.open_store(self._project.paths),
            )

    def confirm(self, stages: Sequence[Stage]) -> None:
        """Sign the chains of these stages again, if there is a key."""
        if self._by is not None:
            StageChains(self._project, self._spec, self._sink).publish(stages, self._by.signer)

    def check(self, entries: Sequence[LedgerEntry], image: str) -> None:
        """Raise LedgerDamaged if an entry recorded at the image or published by a known key is missing."""
        keys = read_keyring(self._project, self._spec).known_keys
        if not entries or not keys:
            return
        have = {entry.hash for entry in entries}
        for what, named in (*self._read_published(keys), *self._list_named_entries(image, keys)):
            if named not in have:
                raise LedgerDamaged(f"ledger entry {named} not found, referenced by {what}", remedy=_REMEDY)

    @contextlib.contextmanager
    def _defer_errors(self, what: str, stage: Stage) -> Iterator[None]:
        """Turn registry errors into notes: the next promotion retries."""
        try:
            yield
        except RegistryError as error:
            self._sink(Note(text=f"cannot exchange {what} with {stage.repository}: {error.sentence}"))

    def _read_published(self, keys: Mapping[str, PublicKey]) -> Iterator[tuple[str, str]]:
        for stage in self._spec.stages.values():
            raw = None
            with contextlib.suppress(RegistryError):  # dependent checks are pending
                raw = (
                    artifacts.fetch_artifact(envelopes.BUNDLE_TYPE, self._make_reference(stage))
                    if stage.repository
                    else None
                )
            if raw is None:
                continue
            try:
                yield f"the head published at {stage.repository}", stage_chain.verify_head(raw, keys).hash
            except SigningError as error:  # e.g. a replaced key; an attacker could also delete it
                self._sink(
                    Note(text=f"{self._make_reference(stage).familiar_name} will be signed again: {error.sentence}")
                )

    def _list_named_entries(self, image: str, keys: Mapping[str, PublicKey]) -> Iterator[tuple[str, str]]:
        """Yield the entries named by records of this ledger."""
        for each, promotion in verify.list_signed(self._list_findings(image, keys), statements.PROMOTION):
            if promotion.predicate.get("ledger") == self._read_ledger_id():
                yield f"the record {each.evidence}", documents.read_text(promotion.predicate, "previous")

    def _find_recorded(self, image: str, desired: Promotion, key: PublicKey) -> str:
        """Return the evidence of an attempt recorded before a kill; "" for none."""
        found = verify.list_signed(self._list_findings(image, {key.fingerprint: key}), statements.PROMOTION)
        return next((each.evidence for each, promotion in found if promotion.predicate == desired.to_predicate()), "")

    def _list_findings(self, image: str, keys: Mapping[str, PublicKey]) -> Iterable[verify.AttachmentFinding]:
        oci = attachments.open_store(self._project.paths)
        return verify.list_findings(image, oci, keys) if oci.has_blob(image) else ()

    def _make_reference(self, stage: Stage) -> reference.Reference:
        tag = f"{_TAG}{self._read_ledger_id().removeprefix('sha256:')[:_DIGITS]}"
        return reference.parse(stage.repository)._replace(tag=tag, digest="")

    def _read_ledger_id(self) -> str:
        """Return the identity of this ledger: its first entry."""
        entries = self._ledger.read_entries()
        return entries[0].hash if entries else ""

    def _find_origin(self) -> str:
        before = [stage.name for stage in self._spec.stages.values() if stage.order == self._stage.order - 1]
        return before[0] if before else ""


def _make_promotion(intent: LedgerEntry, steps: Sequence[LedgerEntry], *, ledger: str, origin: str) -> Promotion:
    payload = IntentPayload.read(intent)
    gates = payload.load_gates()
    if gates is None:
        raise plan.build_version_error(intent)
    lost = find_last_losses(steps)
    return Promotion(
        release=intent.release,
        origin=origin,
        stage=intent.stage,
        operation=payload.operation,
        attempt=intent.attempt,
        policy=payload.policy,
        strategy=plan.read_deployment(intent).stage.strategy.kind,
        gates=gates,
        approvals=tuple(gate.evidence for gate in gates if gate.subject == "approval" and gate.evidence),
        lost_requests=lost.lost_requests,
        lost_by_cause=lost.lost_by_cause,
        lost_unknown=lost.lost_unknown,
        ledger=ledger,
        previous=(steps[-1] if steps else intent).hash,
        issued=intent.at,
    )


@dataclass(frozen=True, kw_only=True)
class PublishedChain:
    """Chain published by one host about a stage: its newest record."""

    stage: str
    writer: str
    number: int
    at: str
    kind: str
    release: str
    signed: str


@dataclass(frozen=True, kw_only=True)
class RefreshResult:
    """Chains of other hosts, and stages with incomplete records, with the reason. `by`: signing key."""

    chains: tuple[PublishedChain, ...]
    lacking: dict[str, str]
    by: str


def refresh(
    project: Project, sink: Sink, *, key: str, ask: PassphrasePrompt | None, accept: bool = False
) -> RefreshResult:
    """Fetch other hosts' records of all stages, and sign this host's again.

    `accept`: accept records read for the first time, regardless of their age. Without a key of the file, nothing is
    signed.
    """
    desired = prepare(project, fresh=True)
    stages = [stage for stage in desired.stages.values() if stage.repository]
    if not stages:
        raise UsageError("missing repository of any stage", remedy='[stage.NAME] repository = "HOST/NAME"')
    by = choose_promoter(project, desired, key, ask)
    chains = StageChains(project, desired, sink)
    missing = chains.learn(accept=accept)
    if by is not None:
        chains.publish((stage for stage in stages if stage.name not in missing), by.signer, confirm=True)
    found = [
        PublishedChain(
            stage=name,
            writer=each.writer,
            number=last.number,
            at=last.at,
            kind=last.kind,
            release=last.release,
            signed=each.signed,
        )
        for name, documents in chains.found.items()
        for each in documents
        for last in each.records[-1:]
    ]
    return RefreshResult(chains=tuple(found), lacking=missing, by=by.name if by else "")


@dataclass(frozen=True, kw_only=True)
class RebuildResult:
    """A rebuilt ledger. `aside`: path of the old one, "" for none; `learned`: entries from records."""

    aside: str
    learned: int


def rebuild(project: Project, sink: Sink) -> RebuildResult:
    """Move the ledger aside, and rebuild it from the signed records of stages.

    Facts only in the old ledger are lost: gates that depend on them are pending. Running stages are not affected.
    """
    desired = prepare(project, fresh=True)
    if not desired.stages:
        raise UsageError("cannot rebuild the ledger: the file has no stages", remedy="devbox release ls")
    ledger = Ledger(project.paths, project.id)
    ConfirmedRecord(project.paths, project.id).forget()  # first: after a kill here, the old ledger still exists
    aside = ledger.rebuild(RebuiltPayload(reason="devbox release rebuild").to_body())
    StageChains(project, desired, sink).learn()
    learned = [entry for entry in ledger.read_entries() if read_shared(entry).origin]
    return RebuildResult(aside=aside, learned=len(learned))
