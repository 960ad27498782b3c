"""An image to where a stage keeps its images: its repository, or the store of this machine. To the byte, by digest.

Within one registry no blob is sent: the repository of the stage takes them over from the one they are in. What is
attached to the image, by others as well, goes along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devbox.errors import RegistryError
from devbox.execute import transfer
from devbox.execute.events import Note, Sink
from devbox.host.paths import Paths
from devbox.images import documents, layout
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph, settings
from devbox.images.registry.connection import Connection
from devbox.images.registry.reference import Reference, parse
from devbox.images.registry.repository import Repository
from devbox.images.registry.transfers import Transfers
from devbox.model import ids
from devbox.model.stage import Deployment
from devbox.promotion import document

CURRENT = "current"  # the tag of what a stage runs
_DIGITS = 12  # of a release, in its tag


class Copier:
    """Copies images of one store. `sources`: the repositories where an image and what is attached to it may be."""

    def __init__(self, paths: Paths, sources: Sequence[str], sink: Sink) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        self._transfers = Transfers(paths)
        self._sources = tuple(dict.fromkeys(source for source in sources if source))
        self._sink = sink

    def copy(self, wanted: Deployment) -> Mapping[str, Any]:
        """Copy the image and all that is attached to it to where the stage keeps its images, and hash it again."""
        digest, repository = wanted.release.image, wanted.stage.repository
        self._gather(digest, but=repository)
        top = self._hashed(digest)
        if not repository:
            return {"digest": digest, "repository": "", "sent": 0}
        document.attach(wanted.release, top, self._oci)
        reference = parse(repository)._replace(tag=tag_of(wanted.release.id), digest="")
        pushed = transfer.push(self._transfers, top, reference, self._sink, paths=self._paths)
        Repository(Connection(settings.origin(reference.host)), reference).manifest(digest)  # hashed as it comes
        return {"digest": digest, "repository": str(reference), "sent": pushed.sent}

    def mark(self, wanted: Deployment) -> None:
        """Have the tag `current` of the stage's repository name what the stage runs: for people, and other machines.

        Where the repository is one that the stage got since, it has the image then, too.
        """
        if not wanted.stage.repository:
            return
        reference = parse(wanted.stage.repository)._replace(tag=CURRENT, digest="")
        try:
            repository = Repository(Connection(settings.origin(reference.host)), reference, pushes=True)
            if not repository.digest(tag_of(wanted.release.id)):
                self.copy(wanted)
            if repository.digest(CURRENT) != wanted.release.image:
                found = repository.manifest(wanted.release.image)
                repository.put_manifest(CURRENT, found.descriptor.media_type, found.raw)
        except RegistryError as error:
            self._sink(Note(text=f"{wanted.stage.repository} does not know of it yet: {error.sentence}"))

    def have(self, wanted: Deployment) -> Mapping[str, Any]:
        """Have the image in the store; ask no registry if it is there already. A rollback needs no approval."""
        digest = wanted.release.image
        if not self._oci.has(digest):
            self._gather(digest, but="")
        self._hashed(digest)
        return {"digest": digest, "repository": "", "sent": 0}

    def _gather(self, digest: str, *, but: str) -> None:
        """Have the image in the store, and all that was attached to it anywhere."""
        lacking = None
        for source in self._sources:
            if source != but or not self._oci.has(digest):
                exact = parse(source)._replace(tag="", digest=digest)
                try:
                    if has_image(source, digest):
                        transfer.pull(self._transfers, exact, self._sink, all_platforms=True)
                    else:
                        lacking = no_image(source, digest)
                except RegistryError as error:
                    self._sink(Note(text=f"what {source} has of it is not known: {error.sentence}"))
                    lacking = error
        if lacking and not self._oci.has(digest):
            raise lacking

    def _hashed(self, digest: str) -> Descriptor:
        """The image in the store, its manifests hashed again."""
        raw = self._oci.read_raw(digest)
        if raw is None:
            raise RegistryError(
                f"the store does not have the image {digest}", remedy="devbox image pull REPOSITORY@DIGEST"
            )
        top = Descriptor(documents.text(documents.parse(raw), "mediaType") or layout.INDEX, digest, len(raw))
        for each in (top, *graph.understand(top, raw).children):
            found = self._oci.read_raw(each.digest)
            if found is not None and ids.sha256(found) != each.digest:
                raise RegistryError(f"the store's copy of {digest} is damaged", remedy="devbox image verify")
        return top


def has_image(repository: str, digest: str) -> bool:
    """True if a repository has an image. Raises RegistryError if it cannot be asked."""
    return bool(digest_of(parse(repository)._replace(tag=digest, digest="")))


def no_image(repository: str, digest: str) -> RegistryError:
    """The error of an image that a repository does not have."""
    return RegistryError(
        f"{repository} does not have the image {digest}", remedy=f"devbox image pull REPOSITORY@{digest}"
    )


def digest_of(reference: Reference) -> str:
    """The digest that a tag names now; "" if there is no such tag."""
    return Repository(Connection(settings.origin(reference.host)), reference).digest(reference.tag)


def tag_of(release: str) -> str:
    """The tag below which a repository has the image of a release: no garbage collector takes it away."""
    return f"release-{release.removeprefix('sha256:')[:_DIGITS]}"
