"""The verb `release refresh`: confirm what is known of stages, so that new machines believe it."""

from __future__ import annotations

from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.frozen import dataclass
from devbox.opened import Project, load
from devbox.verbs.keys import Ask
from devbox.verbs.recording import promoter
from devbox.verbs.stagechain import StageChains


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What one machine published about a stage: its newest record."""

    stage: str
    writer: str
    number: int
    at: str
    kind: str
    release: str
    signed: str


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What other machines published, and stages of which not all is known, with the reason. `by`: whose key signed."""

    chains: tuple[Chain, ...]
    lacking: dict[str, str]
    by: str


def refresh(opened: Project, sink: Sink, *, key: str, ask: Ask | None, accept: bool = False) -> Refreshed:
    """Learn what other machines did with all stages, and sign again what this one knows.

    `accept`: believe what this machine reads for the first time, however long ago it was confirmed. Without a key of
    the file, nothing is signed.
    """
    resolved = load(opened, fresh=True)
    stages = [stage for stage in resolved.stages.values() if stage.repository]
    if not stages:
        raise UsageError("no stage of the file has a repository", remedy='[stage.NAME] repository = "HOST/NAME"')
    by = promoter(opened, resolved, key, ask)
    chains = StageChains(opened, resolved, sink)
    lacking = chains.learn(accept=accept)
    if by is not None:
        chains.publish((stage for stage in stages if stage.name not in lacking), by.signer, confirm=True)
    found = [
        Chain(
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
    return Refreshed(chains=tuple(found), lacking=lacking, by=by.name if by else "")
