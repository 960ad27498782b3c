"""What other machines did with releases: found in the repositories of stages, believed where a key of the file signed.

So several machines promote one project, and one that did not build can run what others built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devbox.attest import attachments, statements, verify
from devbox.attest.verify import AttachmentFinding
from devbox.commands.promotion_records import PromotionRecorder
from devbox.commands.signing import read_keyring
from devbox.commands.stage_chains import StageChains
from devbox.errors import RegistryError, RegistryUnavailable
from devbox.execute import transfer
from devbox.execute.events import Note, Sink
from devbox.images.registry.reference import parse
from devbox.images.registry.transfers import Transfers
from devbox.model.ledger import REVOKED, TESTED
from devbox.model.spec import Spec
from devbox.model.stage import Stage
from devbox.project import Project
from devbox.promotion import admission, copying, stage_records, target
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases


class RemoteHistory:
    """What this machine has to learn before a release goes to a stage. `lacking`: stage → what could not be learned.

    `observed`: stage → release → seconds for which another machine saw it healthy. `due`: stages whose records this
    machine should sign again.
    """

    def __init__(self, opened: Project, resolved: Spec, stage: Stage, sink: Sink) -> None:
        self._opened = opened
        self._resolved = resolved
        self._stage = stage
        self._before = admission.find_previous(stage, resolved.stages)
        self._releases = Releases(opened.paths, opened.id)
        self._ledger = Ledger(opened.paths, opened.id)
        self._sink = sink
        self._learned: set[str] = set()
        self.lacking: dict[str, str] = {}
        self.observed: dict[str, dict[str, float]] = {}
        self.due: list[Stage] = []

    def learn_stages(self) -> None:
        """Enter what other machines did with any stage."""
        chains = StageChains(self._opened, self._resolved, self._sink)
        self.lacking, self.observed, self.due = chains.learn(), chains.observed, chains.due

    def find_image(self, name: str) -> str:
        """The image of a release that the stage before has and this machine may not; "" where none is known.

        For "", it is the one that the repository of the stage before calls current: no proof that it runs there.
        """
        if self._before is None or not self._before.repository or self.is_known(name):
            return ""
        tag = copying.format_tag(name) if name else copying.CURRENT
        try:
            return copying.find_digest(parse(self._before.repository)._replace(tag=tag, digest=""))
        except RegistryError as error:
            self._sink(Note(text=f"what {self._before.name} has is not known: {error.sentence}"))
            return ""

    def learn(self, image: str) -> None:
        """Have the image, what is attached to it anywhere, and in the ledger what known keys say against it."""
        if not image or image in self._learned:
            return
        self._learned.add(image)
        oci = attachments.open_store(self._opened.paths)
        if not oci.has_blob(image):
            self._pull(image)
        PromotionRecorder(self._opened, self._resolved, self._stage, None, self._sink).gather(image)
        self._adopt(image)

    def _pull(self, image: str) -> None:
        """Pull an image from the first repository that has it: of the stage before, earlier stages, then later ones.

        Raises RegistryError if a registry cannot be reached, or no repository has the image.
        """
        last = self._before.order if self._before else self._stage.order
        order = sorted(self._resolved.stages.values(), key=lambda stage: (stage.order > last, -stage.order))
        places = list(dict.fromkeys(stage.repository for stage in order if stage.repository))
        for place in places:
            try:
                if copying.has_image(place, image):
                    exact = parse(place)._replace(tag="", digest=image)
                    transfer.pull(Transfers(self._opened.paths), exact, self._sink, all_platforms=True)
                    return
            except RegistryUnavailable:
                raise
            except RegistryError:
                if place == places[-1]:
                    raise
        if places:
            raise copying.build_missing_error(", ".join(places), image)

    def is_known(self, name: str) -> bool:
        """True if this machine has a release whose id begins so."""
        digits = name.removeprefix("sha256:")
        every = (release.id.removeprefix("sha256:") for release in self._releases.list_releases())
        return bool(name) and any(each.startswith(digits) for each in every)

    def _adopt(self, image: str) -> None:
        """Keep the releases that the image is, and enter what is signed against them and not in the ledger yet."""
        for release in target.list_attached_releases(image, attachments.open_store(self._opened.paths)):
            if not self.is_known(release.id):
                self._releases.add(release, is_built=False)
        keys = read_keyring(self._opened, self._resolved)
        found = verify.list_findings(image, attachments.open_store(self._opened.paths), keys.known_keys)
        entered = {str(entry.body.get("evidence", "")) for entry in self._ledger.read_entries()}
        for each, statement in verify.list_signed(found, statements.REVOCATION):
            if each.evidence not in entered and statement.predicate.get("release"):
                self._enter_revocation(image, each, statement.predicate, by=keys.get_name(each.by))
        builders = {key.fingerprint for key in keys.builders.values()}
        for each, statement in verify.list_signed(found, statements.TESTS):
            if each.evidence not in entered and each.by in builders and statement.predicate.get("passed") is False:
                body = {"run": statement.predicate, "evidence": each.evidence, "seen": {"image": image}}
                name = str(statement.predicate.get("release", ""))
                self._ledger.append(TESTED, release=name, body={**body, "key": each.by, "by": keys.get_name(each.by)})

    def _enter_revocation(self, image: str, found: AttachmentFinding, said: Mapping[str, Any], *, by: str) -> None:
        """Enter a revocation that no chain has because its command was killed; this machine publishes it."""
        body = {"evidence": found.evidence, "image": image, "by": by, "reason": str(said.get("reason", ""))}
        clock = stage_records.compute_next_clock(self._ledger.read_entries())
        self._ledger.append(REVOKED, release=str(said.get("release", "")), body={**body, "clock": clock})
