"""Implementation of `release refresh` and `release rebuild`: records of stages, confirmed for new hosts."""

from __future__ import annotations

from devbox.commands.promotion_records import choose_promoter
from devbox.commands.signing import PassphrasePrompt
from devbox.commands.stage_chains import StageChains
from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.model.frozen import dataclass
from devbox.model.ledger_payloads import RebuiltPayload, read_shared
from devbox.project import Project, prepare
from devbox.records.ledger import Ledger
from devbox.records.observations import ConfirmedRecord


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
    opened: Project, sink: Sink, *, key: str, ask: PassphrasePrompt | None, accept: bool = False
) -> RefreshResult:
    """Fetch other hosts' records of all stages, and sign this host's again.

    `accept`: accept records read for the first time, regardless of their age. Without a key of the file, nothing is
    signed.
    """
    resolved = prepare(opened, fresh=True)
    stages = [stage for stage in resolved.stages.values() if stage.repository]
    if not stages:
        raise UsageError("missing repository of any stage", remedy='[stage.NAME] repository = "HOST/NAME"')
    by = choose_promoter(opened, resolved, key, ask)
    chains = StageChains(opened, resolved, sink)
    lacking = chains.learn(accept=accept)
    if by is not None:
        chains.publish((stage for stage in stages if stage.name not in lacking), by.signer, confirm=True)
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
    return RefreshResult(chains=tuple(found), lacking=lacking, by=by.name if by else "")


@dataclass(frozen=True, kw_only=True)
class RebuildResult:
    """A rebuilt ledger. `aside`: path of the old one, "" for none; `learned`: entries from records."""

    aside: str
    learned: int


def rebuild(opened: Project, sink: Sink) -> RebuildResult:
    """Move the ledger aside, and rebuild it from the signed records of stages.

    Facts only in the old ledger are lost: gates that depend on them are pending. Running stages are not affected.
    """
    resolved = prepare(opened, fresh=True)
    if not resolved.stages:
        raise UsageError("cannot rebuild the ledger: the file has no stages", remedy="devbox release ls")
    ledger = Ledger(opened.paths, opened.id)
    ConfirmedRecord(opened.paths, opened.id).forget()  # first: after a kill here, the old ledger still exists
    aside = ledger.rebuild(RebuiltPayload(reason="devbox release rebuild").to_body())
    StageChains(opened, resolved, sink).learn()
    learned = [entry for entry in ledger.read_entries() if read_shared(entry).origin]
    return RebuildResult(aside=aside, learned=len(learned))
