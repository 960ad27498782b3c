"""The verb `release rebuild`: begin the ledger again, from what known keys signed."""

from __future__ import annotations

from devbox.errors import UsageError
from devbox.execute.events import Sink
from devbox.frozen import dataclass
from devbox.opened import Project, load
from devbox.promotion import stagerecords
from devbox.records.confirmed import ConfirmedRecord
from devbox.records.ledger import Ledger
from devbox.verbs.stagechain import StageChains


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A ledger that was begun again. `aside`: the path of the old one, "" for none; `learned`: entries from records."""

    aside: str
    learned: int


def rebuild(opened: Project, sink: Sink) -> Rebuilt:
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
    learned = [entry for entry in ledger.entries() if stagerecords.seen(entry)]
    return Rebuilt(aside=aside, learned=len(learned))
