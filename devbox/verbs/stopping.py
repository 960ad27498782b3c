"""What `down --stage` enters into the ledger and the chain of the stage: a user stopped it, so that it runs nothing."""

from __future__ import annotations

from devbox.errors import DevboxError
from devbox.execute.events import Note, Sink
from devbox.model.entry import DOWN
from devbox.opened import Project
from devbox.promotion import stagerecords
from devbox.promotion.history import History
from devbox.records.ledger import Ledger
from devbox.verbs.keys import Ask
from devbox.verbs.recording import promoter
from devbox.verbs.stagechain import StageChains
from devbox.verbs.stagefile import load_or_promoted


def record_down(opened: Project, stage: str, sink: Sink, *, ask: Ask | None) -> None:
    """Enter that a stage was stopped, if a release was promoted to it; have its repository know, by a key at hand.

    A key that cannot be used is a note: the stage is down.
    """
    ledger = Ledger(opened.paths, opened.id)
    entries = ledger.entries()
    current = History(entries).running(stage)
    if current is None:
        return
    body = {"operation": "down", "image": current.body.get("digest", ""), "clock": stagerecords.next_clock(entries)}
    ledger.append(DOWN, release=current.release, stage=stage, body=body)
    try:
        resolved = load_or_promoted(opened, fresh=True)
        if stage in resolved.stages and resolved.stages[stage].repository:
            by = promoter(opened, resolved, "", ask)
            StageChains(opened, resolved, sink).publish([resolved.stages[stage]], by.signer if by else None)
    except DevboxError as error:
        sink(Note(text=f"other machines do not know yet that {stage} is down: {error.sentence}"))
