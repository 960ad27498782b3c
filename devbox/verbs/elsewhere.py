"""What other machines did with releases: found in the repositories of stages, believed where a key of the file signed.

So several machines promote one project, and one that did not build can run what others built.
"""

from __future__ import annotations

from collections.abc import Iterator

from devbox.attest import attached, statements, verify
from devbox.attest.verify import Finding
from devbox.errors import RegistryError
from devbox.execute import transfer
from devbox.execute.events import Note, Sink
from devbox.images.registry.reference import parse
from devbox.images.registry.transfers import Transfers
from devbox.model.entry import REVOKED, SEEN
from devbox.model.release import Release
from devbox.model.resolved import Resolved
from devbox.model.stage import Stage
from devbox.opened import Project
from devbox.promotion import admission, copying, document
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases
from devbox.verbs.recording import Recorder
from devbox.verbs.signing import ring

Said = dict[str, object]


class Elsewhere:
    """What this machine has to learn before a release goes to a stage. A registry that is away is told of, no more."""

    def __init__(self, opened: Project, resolved: Resolved, stage: Stage, sink: Sink) -> None:
        self._opened = opened
        self._resolved = resolved
        self._stage = stage
        self._before = admission.previous(stage, resolved.stages)
        self._releases = Releases(opened.paths, opened.id)
        self._ledger = Ledger(opened.paths, opened.id)
        self._sink = sink
        self._learned: set[str] = set()

    def image_of(self, name: str) -> str:
        """The image of a release that the stage before has and this machine may not; "" where none is known.

        For "", it is the one that the stage before runs.
        """
        if self._before is None or not self._before.repository or self._is_known(name):
            return ""
        tag = copying.tag_of(name) if name else copying.CURRENT
        try:
            return copying.digest_of(parse(self._before.repository)._replace(tag=tag, digest=""))
        except RegistryError as error:
            self._sink(Note(text=f"what {self._before.name} has is not known: {error.sentence}"))
            return ""

    def learn(self, image: str) -> None:
        """Have the image, what is attached to it anywhere, and in the ledger what known keys say of it."""
        if not image or image in self._learned:
            return
        self._learned.add(image)
        oci = attached.store(self._opened.paths)
        if not oci.has(image) and self._before is not None and self._before.repository:
            exact = parse(self._before.repository)._replace(tag="", digest=image)
            transfer.pull(Transfers(self._opened.paths), exact, self._sink, all_platforms=True)
        Recorder(self._opened, self._resolved, self._stage, None, self._sink).gather(image)
        self._adopt(image)

    def _is_known(self, name: str) -> bool:
        digits = name.removeprefix("sha256:")
        every = (release.id.removeprefix("sha256:") for release in self._releases.all())
        return bool(name) and any(each.startswith(digits) for each in every)

    def _adopt(self, image: str) -> None:
        """Keep the releases that the image is, and enter what is said of them and not in the ledger yet."""
        carried = document.attached(image, attached.store(self._opened.paths))
        releases: dict[str, Release] = {release.id: release for release in carried}
        known = {release.id for release in self._releases.all()}
        for release in releases.values():
            if release.id not in known:
                self._releases.add(release)
        entries = self._ledger.entries()
        entered = {str(entry.body.get(key, "")) for entry in entries for key in ("evidence", "record")}
        for kind, found, said in self._said(image):
            name = str(said.get("release", ""))
            if name in releases and found.evidence not in entered:
                self._enter(kind, found, said, name)

    def _said(self, image: str) -> Iterator[tuple[str, Finding, Said]]:
        """The revocations of an image, and its moves into the stage before, the oldest first."""
        keys = ring(self._opened, self._resolved).known
        found = verify.findings(image, attached.store(self._opened.paths), keys)
        for each, statement in verify.signed(found, statements.REVOCATION):
            yield REVOKED, each, statement.predicate
        moves = [(each, statement.predicate) for each, statement in verify.signed(found, statements.PROMOTION)]
        for each, said in sorted(moves, key=lambda move: str(move[1].get("issued", ""))):
            if self._before is not None and said.get("to") == self._before.name:
                yield SEEN, each, said

    def _enter(self, kind: str, found: Finding, said: Said, release: str) -> None:
        by = ring(self._opened, self._resolved).name(found.by)
        body = {"evidence": found.evidence, "by": by, "at": str(said.get("issued", ""))}
        body |= {name: str(said[name]) for name in ("reason", "operation") if name in said}
        stage = self._before.name if kind == SEEN and self._before else ""
        self._ledger.append(kind, release=release, stage=stage, body=body)
