"""The verb `release refresh`: confirm what is known of stages, so that new machines believe it."""

from __future__ import annotations

from devbox.commands.promotion_records import choose_promoter
from devbox.commands.signing import PassphrasePrompt
from devbox.commands.stage_chains import StageChains
from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.model.frozen import dataclass
from devbox.project import Project, load
from devbox.promotion import stage_records
from devbox.records.ledger import Ledger
from devbox.records.observations import ConfirmedRecord


@dataclass(frozen=True, kw_only=True)
class PublishedChain:
    """What one machine published about a stage: its newest record."""

    stage: str
    writer: str
    number: int
    at: str
    kind: str
    release: str
    signed: str


@dataclass(frozen=True, kw_only=True)
class RefreshResult:
    """What other machines published, and stages of which not all is known, with the reason. `by`: whose key signed."""

    chains: tuple[PublishedChain, ...]
    lacking: dict[str, str]
    by: str


def refresh(
    opened: Project, sink: Sink, *, key: str, ask: PassphrasePrompt | None, accept: bool = False
) -> RefreshResult:
    """Learn what other machines did with all stages, and sign again what this one knows.

    `accept`: believe what this machine reads for the first time, however long ago it was confirmed. Without a key of
    the file, nothing is signed.
    """
    resolved = load(opened, fresh=True)
    stages = [stage for stage in resolved.stages.values() if stage.repository]
    if not stages:
        raise UsageError("no stage of the file has a repository", remedy='[stage.NAME] repository = "HOST/NAME"')
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
    """A ledger that was begun again. `aside`: the path of the old one, "" for none; `learned`: entries from records."""

    aside: str
    learned: int


def rebuild(opened: Project, sink: Sink) -> RebuildResult:
    """Put the ledger aside, and enter what signed records tell of each stage.

    What only the old ledger told is lost: a gate that depends on it is pending. What stages run is not touched.
    """
    resolved = load(opened, fresh=True)
    if not resolved.stages:
        raise UsageError("the file has no stages, so there is no ledger", remedy="devbox release ls")
    ledger = Ledger(opened.paths, opened.id)
    ConfirmedRecord(opened.paths, opened.id).forget()  # first: killed here, it still has the ledger that it relied on
    aside = ledger.rebuild({"reason": "devbox release rebuild"})
    StageChains(opened, resolved, sink).learn()
    learned = [entry for entry in ledger.read_entries() if stage_records.read_origin(entry)]
    return RebuildResult(aside=aside, learned=len(learned))
