"""Which release a verb means, and what it would be deployed as: one selection for promote, approve and why."""

from __future__ import annotations

from devbox.execute.events import Sink
from devbox.model.release import Release
from devbox.model.resolved import Resolved
from devbox.model.stage import Deployment, Stage
from devbox.opened import Project
from devbox.promotion import admission, coverage
from devbox.promotion.history import History
from devbox.records import keyring
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases
from devbox.verbs.elsewhere import Elsewhere


def select(opened: Project, resolved: Resolved, stage: Stage, name: str, sink: Sink) -> tuple[Release, History]:
    """The release that is meant, and all that is known: here, and elsewhere as far as registries tell.

    Without a name, it is the one on its way into the stage, else what the stage before runs, else the newest.
    """
    elsewhere, ledger = Elsewhere(opened, resolved, stage, sink), Ledger(opened.paths, opened.id)
    elsewhere.learn(elsewhere.image_of(name))
    release = _release(opened, resolved, stage, name, History(ledger.entries()))
    elsewhere.learn(release.image)
    return release, History(ledger.entries())


def covered(opened: Project, resolved: Resolved, deployment: Deployment) -> dict[str, str]:
    """The parts of a deployment that an approval covers, by the file and the keys as they are now."""
    order = sorted(resolved.stages.values(), key=lambda stage: stage.order)
    keys = keyring.identities(opened.root, builders=resolved.builders, approvers=resolved.approvers)
    return coverage.parts(deployment, order=[stage.name for stage in order], keys=keys)


def _release(opened: Project, resolved: Resolved, stage: Stage, name: str, history: History) -> Release:
    known = Releases(opened.paths, opened.id)
    if name:
        return known.find(name)
    before = admission.previous(stage, resolved.stages)
    entry = history.under_way(stage.name) or (history.stands(before.name) if before else None)
    return known.find(entry.release if entry else "")
