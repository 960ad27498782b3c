"""Signed records of moves: they travel with the image, and reveal a ledger that lost entries which they name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from devbox.attest import attached, bundle, heads, signing, statements, verify
from devbox.attest.keys import PublicKey
from devbox.attest.predicates import Promotion
from devbox.errors import LedgerDamaged, RegistryError, SigningError
from devbox.execute import exchange
from devbox.execute.events import Note, Sink
from devbox.images import documents
from devbox.images.registry import artifact, reference
from devbox.model import codec
from devbox.model.entry import Entry
from devbox.model.resolved import Resolved
from devbox.model.stage import Deployment, Stage
from devbox.model.verdict import Verdict
from devbox.opened import Project
from devbox.promotion.move import last_losses
from devbox.records.ledger import Ledger
from devbox.verbs.keys import Ask
from devbox.verbs.signing import Named, ring, signs
from devbox.verbs.stagechain import StageChains

_TAG, _DIGITS = "devbox-ledger-", 12
_REMEDY = "compare it with a copy of it: nothing is promoted on its word"


def promoter(opened: Project, resolved: Resolved, key: str, ask: Ask | None) -> Named | None:
    """Who signs the record of a move: the key of that name, else the one of this machine that is a builder's.

    Where it has none of those, the one that is an approver's.
    """
    known = ring(opened, resolved)
    for those in (known.builders, known.approvers):
        if found := signs(opened, resolved, key, ask, fitting={each.fingerprint for each in those.values()}):
            return found
    return None


class Recorder:
    """Writes the records of one project's moves into one stage, and reads what was recorded before."""

    def __init__(self, opened: Project, resolved: Resolved, stage: Stage, by: Named | None, sink: Sink) -> None:
        self._opened = opened
        self._resolved = resolved
        self._stage = stage
        self._by = by
        self._sink = sink
        self._ledger = Ledger(opened.paths, opened.id)

    def gather(self, image: str) -> None:
        """Have what was said about an image on other machines, as far as repositories of stages know it."""
        for stage in self._resolved.stages.values():
            if attached.store(self._opened.paths).has(image):
                with self._later("what others said", stage):
                    exchange.fetch(image, [stage], paths=self._opened.paths)

    def record(self, intent: Entry, steps: Sequence[Entry]) -> Mapping[str, str]:
        """Attach the record of an attempt to its image, once. Return the fields for the ledger; without a key, none."""
        if self._by is None:
            return {}
        wanted = codec.load(Deployment, intent.body["deployment"])
        image, signer = wanted.release.image, self._by.signer
        said = _promotion(intent, steps, ledger=self._id(), origin=self._origin())
        evidence = self._recorded(image, said, signer.public)
        if not evidence:
            name = self._resolved.instance.name
            predicate = said.predicate()
            evidence = signing.say(image, statements.PROMOTION, predicate, signer, name=name, paths=self._opened.paths)
        return {"record": evidence, "signed_by": self._by.name}

    def publish(self, image: str) -> None:
        """Have the stage's repository know what is attached to the image now, and the head of the ledger, signed."""
        signer = self._by.signer if self._by else None
        StageChains(self._opened, self._resolved, self._sink).publish([self._stage], signer)
        if self._by is None or not self._stage.repository:
            return
        with self._later("the record", self._stage):
            exchange.send(image, [self._stage], self._sink, paths=self._opened.paths)
        head = self._ledger.head()
        told = heads.Head(project=self._resolved.instance.name, seq=head.seq, hash=head.hash, at=head.at)
        raw = heads.sign_head(told, self._by.signer)
        with self._later("the head of the ledger", self._stage):
            artifact.put(raw, bundle.MEDIA_TYPE, self._tag(self._stage), oci=attached.store(self._opened.paths))

    def confirm(self, stages: Sequence[Stage]) -> None:
        """Have the chains of these stages signed again, if there is a key."""
        if self._by is not None:
            StageChains(self._opened, self._resolved, self._sink).publish(stages, self._by.signer)

    def check(self, entries: Sequence[Entry], image: str) -> None:
        """LedgerDamaged where an entry is not there that was recorded at the image or published by a known key."""
        keys = ring(self._opened, self._resolved).known
        if not entries or not keys:
            return
        have = {entry.hash for entry in entries}
        for what, named in (*self._published(keys), *self._named(image, keys)):
            if named not in have:
                raise LedgerDamaged(f"the ledger lacks an entry that {what} names: {named}", remedy=_REMEDY)

    @contextlib.contextmanager
    def _later(self, what: str, stage: Stage) -> Iterator[None]:
        """What a registry does not take or give now, it does with the next move: the stage runs what it runs."""
        try:
            yield
        except RegistryError as error:
            self._sink(Note(text=f"without {what}, which {stage.repository} keeps: {error.sentence}"))

    def _published(self, keys: Mapping[str, PublicKey]) -> Iterator[tuple[str, str]]:
        for stage in self._resolved.stages.values():
            raw = None
            with contextlib.suppress(RegistryError):  # what rests on its records is pending
                raw = artifact.get(bundle.MEDIA_TYPE, self._tag(stage)) if stage.repository else None
            if raw is None:
                continue
            try:
                yield f"the head published at {stage.repository}", heads.verify_head(raw, keys).hash
            except SigningError as error:  # as after a key was replaced; it could as well have been deleted
                self._sink(Note(text=f"{self._tag(stage).familiar} will be signed again: {error.sentence}"))

    def _named(self, image: str, keys: Mapping[str, PublicKey]) -> Iterator[tuple[str, str]]:
        """The entries before the records of this ledger."""
        for each, said in verify.signed(self._findings(image, keys), statements.PROMOTION):
            if said.predicate.get("ledger") == self._id():
                yield f"the record {each.evidence}", documents.text(said.predicate, "previous")

    def _recorded(self, image: str, wanted: Promotion, key: PublicKey) -> str:
        """The evidence of an attempt that was recorded before its process was killed; "" for none."""
        found = verify.signed(self._findings(image, {key.fingerprint: key}), statements.PROMOTION)
        return next((each.evidence for each, said in found if said.predicate == wanted.predicate()), "")

    def _findings(self, image: str, keys: Mapping[str, PublicKey]) -> Iterable[verify.Finding]:
        oci = attached.store(self._opened.paths)
        return verify.findings(image, oci, keys) if oci.has(image) else ()

    def _tag(self, stage: Stage) -> reference.Reference:
        tag = f"{_TAG}{self._id().removeprefix('sha256:')[:_DIGITS]}"
        return reference.parse(stage.repository)._replace(tag=tag, digest="")

    def _id(self) -> str:
        """What tells this ledger from those of other machines: its first entry."""
        entries = self._ledger.entries()
        return entries[0].hash if entries else ""

    def _origin(self) -> str:
        before = [stage.name for stage in self._resolved.stages.values() if stage.order == self._stage.order - 1]
        return before[0] if before else ""


def _promotion(intent: Entry, steps: Sequence[Entry], *, ledger: str, origin: str) -> Promotion:
    body = intent.body
    gates = tuple(codec.load(Verdict, plain) for plain in body["gates"])
    wanted = codec.load(Deployment, body["deployment"])
    return Promotion(
        release=intent.release,
        origin=origin,
        stage=intent.stage,
        operation=body["operation"],
        attempt=intent.attempt,
        policy=body["policy"],
        strategy=wanted.stage.strategy.kind,
        gates=gates,
        approvals=tuple(gate.evidence for gate in gates if gate.subject == "approval" and gate.evidence),
        **last_losses(steps),
        ledger=ledger,
        previous=(steps[-1] if steps else intent).hash,
        issued=intent.at,
    )
