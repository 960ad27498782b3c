"""Which release a verb means, and what it would be deployed as: one selection for promote, approve and why."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.envfile import environment
from devbox.envfile.load import load as read
from devbox.execute.events import Sink
from devbox.frozen import dataclass
from devbox.model.entry import Entry
from devbox.model.release import Release
from devbox.model.resolved import Resolved
from devbox.model.stage import Deployment, Stage
from devbox.opened import Project
from devbox.promotion import admission, coverage
from devbox.promotion.history import History
from devbox.records import keyring
from devbox.records.ledger import Ledger
from devbox.records.releases import FEWEST_DIGITS, Releases
from devbox.verbs.elsewhere import Elsewhere


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The release that is meant, and all that is known. `lacking`: stages of which not all is known, and why.

    `observed`: stage → release → seconds for which another machine saw it healthy. `due`: stages whose records this
    machine should sign again. `is_guess`: no name was given, and nothing is known to have been in the stage before.
    """

    release: Release
    history: History
    lacking: Mapping[str, str]
    observed: Mapping[str, Mapping[str, float]]
    due: tuple[Stage, ...] = ()
    is_guess: bool = False


def select(opened: Project, resolved: Resolved, stage: Stage, name: str, sink: Sink) -> Selected:
    """The release that is meant, and all that is known: here, and elsewhere as far as registries tell.

    Without a name, it is the one on its way into the stage, else what the stage before runs, else the newest. Into the
    first stage that is one that was built here: no other one has been proven by a stage.
    """
    elsewhere, ledger = Elsewhere(opened, resolved, stage, sink), Ledger(opened.paths, opened.id)
    elsewhere.learn_stages()
    history = History(ledger.entries())
    meant = _named(name, history) if name else _next(stage, resolved, history)
    if meant is None:
        elsewhere.learn(elsewhere.image_of(name))
    elif not elsewhere.is_known(meant.release):
        elsewhere.learn(_image(meant))
    before = admission.previous(stage, resolved.stages)
    wanted = name or (meant.release if meant else "")
    release = Releases(opened.paths, opened.id).find(wanted, elsewhere=before is not None)
    elsewhere.learn(release.image)
    return Selected(
        release=release,
        history=History(ledger.entries()),
        lacking=elsewhere.lacking,
        observed=elsewhere.observed,
        due=tuple(elsewhere.due),
        is_guess=before is not None and not wanted,
    )


def find_named(opened: Project, resolved: Resolved, name: str, sink: Sink) -> Release:
    """The release of an id or its first digits; one that only other machines have is learned from repositories."""
    if not resolved.stages:
        return Releases(opened.paths, opened.id).find(name)
    last = max(resolved.stages.values(), key=lambda stage: stage.order)
    return select(opened, resolved, last, name, sink).release


def covered(
    opened: Project, resolved: Resolved, deployment: Deployment, *, home: Stage | None = None
) -> dict[str, str]:
    """Return the parts of a deployment that an approval covers, by the file and the keys as they are now.

    `home`: the stage in whose environment it runs, if it is not as in the file.
    """
    order = sorted(resolved.stages.values(), key=lambda stage: stage.order)
    keys = keyring.identities(opened.root, builders=resolved.builders, approvers=resolved.approvers)
    home = home or resolved.stages.get(deployment.stage.environment)
    external = (home or deployment.stage).external
    needs = [need for need in deployment.release.config.needs if need not in external]
    env = read(opened.root, file=opened.env_file).of_stage(deployment.stage.environment) if needs else None
    services = environment.identities(env, needs) if env else {}
    names = [stage.name for stage in order]
    return coverage.parts(deployment, order=names, keys=keys, services=services, home=home)


def _named(name: str, history: History) -> Entry | None:
    """Return an entry about the only release of the ledger whose id begins so."""
    digits = name.removeprefix("sha256:")
    found = [entry for entry in history.entries if entry.release.removeprefix("sha256:").startswith(digits)]
    with_image = [entry for entry in found if _image(entry)]
    is_one = len({entry.release for entry in found}) == 1 and len(digits) >= FEWEST_DIGITS
    return with_image[-1] if is_one and with_image else None


def _image(entry: Entry) -> str:
    """The image of the release that an entry is about; "" if it does not say."""
    return str(entry.body.get("image") or entry.body.get("digest") or "")


def _next(stage: Stage, resolved: Resolved, history: History) -> Entry | None:
    """The entry of the release that goes on, or goes next."""
    before = admission.previous(stage, resolved.stages)
    return history.under_way(stage.name) or (history.stands(before.name) if before else None)
