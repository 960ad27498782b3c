"""The verb `release rebuild`: begin the ledger again, from what known keys signed."""

from __future__ import annotations

from devbox.errors import RegistryError, UsageError
from devbox.execute.events import Note, Sink
from devbox.frozen import dataclass
from devbox.model.entry import REVOKED, SEEN
from devbox.model.resolved import Resolved
from devbox.model.stage import Stage
from devbox.opened import Project, load
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases
from devbox.verbs.elsewhere import Elsewhere


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
    aside = ledger.rebuild({"reason": "devbox release rebuild"})
    for stage in resolved.stages.values():
        try:
            _learn(opened, resolved, stage, sink)
        except RegistryError as error:
            sink(Note(text=f"without the records of {stage.name}: {error.sentence}"))
    learned = [entry for entry in ledger.entries() if entry.kind in (SEEN, REVOKED)]
    return Rebuilt(aside=aside, learned=len(learned))


def _learn(opened: Project, resolved: Resolved, stage: Stage, sink: Sink) -> None:
    elsewhere = Elsewhere(opened, resolved, stage, sink)
    elsewhere.learn(elsewhere.image_of(""))
    for release in Releases(opened.paths, opened.id).all():
        elsewhere.learn(release.image)
