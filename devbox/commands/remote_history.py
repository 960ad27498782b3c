"""Releases and records of other hosts, from the repositories of stages, accepted if signed by a key of the file.

Several hosts can promote one project, and a host can run releases built by others.
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
from devbox.model.ledger_payloads import LearnedTestsPayload, RevokedPayload, read_shared
from devbox.model.spec import Spec
from devbox.model.stage import Stage
from devbox.project import Project
from devbox.promotion import admission, copying, stage_records, target
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases


class RemoteHistory:
    """Knowledge required before a promotion. `missing`: stage → what could not be fetched.

    `observed`: stage → release → seconds observed healthy by another host. `due`: stages whose records this host should
    sign again.
    """

    def __init__(self, project: Project, spec: Spec, stage: Stage, sink: Sink) -> None:
        self._project = project
        self._spec = spec
        self._stage = stage
        self._before = admission.find_previous(stage, spec.stages)
        self._releases = Releases(project.paths, project.id)
        self._ledger = Ledger(project.paths, project.id)
        self._sink = sink
        self._learned: set[str] = set()
        self.missing: dict[str, str] = {}
        self.observed: dict[str, dict[str, float]] = {}
        self.due: list[Stage] = []

    def learn_stages(self) -> None:
        """Fetch other hosts' records of all stages."""
        chains = StageChains(self._project, self._spec, self._sink)
        self.missing, self.observed, self.due = chains.learn(), chains.observed, chains.due

    def find_image(self, name: str) -> str:
        """Return an image of the previous stage's repository for a release unknown to this host; "" for none.

        For "", the image tagged current: no proof that it runs there.
        """
        if self._before is None or not self._before.repository or self.is_known(name):
            return ""
        tag = copying.format_tag(name) if name else copying.CURRENT
        try:
            return copying.find_digest(parse(self._before.repository)._replace(tag=tag, digest=""))
        except RegistryError as error:
            self._sink(Note(text=f"cannot find the release of {self._before.name}: {error.sentence}"))
            return ""

    def learn(self, image: str) -> None:
        """Pull an image with all attachments, and add valid revocations to the ledger."""
        if not image or image in self._learned:
            return
        self._learned.add(image)
        oci = attachments.open_store(self._project.paths)
        if not oci.has_blob(image):
            self._pull(image)
        PromotionRecorder(self._project, self._spec, self._stage, None, self._sink).gather(image)
        self._adopt(image)

    def _pull(self, image: str) -> None:
        """Pull an image from the first repository that has it: previous stage, earlier stages, later ones.

        Raises RegistryError if a registry cannot be reached or no repository has the image.
        """
        last = self._before.order if self._before else self._stage.order
        order = sorted(self._spec.stages.values(), key=lambda stage: (stage.order > last, -stage.order))
        places = list(dict.fromkeys(stage.repository for stage in order if stage.repository))
        for place in places:
            try:
                if copying.has_image(place, image):
                    exact = parse(place)._replace(tag="", digest=image)
                    transfer.pull(Transfers(self._project.paths), exact, self._sink, all_platforms=True)
                    return
            except RegistryUnavailable:
                raise
            except RegistryError:
                if place == places[-1]:
                    raise
        if places:
            raise copying.build_missing_error(", ".join(places), image)

    def is_known(self, name: str) -> bool:
        """True if this host has a release whose ID starts with these digits."""
        digits = name.removeprefix("sha256:")
        every = (release.id.removeprefix("sha256:") for release in self._releases.list_releases())
        return bool(name) and any(each.startswith(digits) for each in every)

    def _adopt(self, image: str) -> None:
        """Store the releases attached to an image, and add new signed revocations to the ledger."""
        for release in target.list_attached_releases(image, attachments.open_store(self._project.paths)):
            if not self.is_known(release.id):
                self._releases.add(release, is_built=False)
        keys = read_keyring(self._project, self._spec)
        found = verify.list_findings(image, attachments.open_store(self._project.paths), keys.known_keys)
        entered = {read_shared(entry).evidence for entry in self._ledger.read_entries()}
        for each, statement in verify.list_signed(found, statements.REVOCATION):
            if each.evidence not in entered and statement.predicate.get("release"):
                self._enter_revocation(image, each, statement.predicate, by=keys.get_name(each.by))
        builders = {key.fingerprint for key in keys.builders.values()}
        for each, statement in verify.list_signed(found, statements.TESTS):
            if each.evidence not in entered and each.by in builders and statement.predicate.get("passed") is False:
                payload = LearnedTestsPayload(
                    run=statement.predicate,
                    evidence=each.evidence,
                    attached_to={"image": image},
                    key=each.by,
                    by=keys.get_name(each.by),
                )
                name = str(statement.predicate.get("release", ""))
                self._ledger.append(TESTED, release=name, body=payload.to_body())

    def _enter_revocation(
        self, image: str, found: AttachmentFinding, revocation: Mapping[str, Any], *, by: str
    ) -> None:
        """Record a revocation missing from all chains, as its command was killed; this host publishes it."""
        payload = RevokedPayload(
            by=by,
            reason=str(revocation.get("reason", "")),
            evidence=found.evidence,
            image=image,
            clock=stage_records.compute_next_clock(self._ledger.read_entries()),
        )
        self._ledger.append(REVOKED, release=str(revocation.get("release", "")), body=payload.to_body())
