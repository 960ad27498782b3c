"""Copy of an image to a stage's repository or the local store, byte by byte, by digest.

Within one registry, blobs are mounted from their repository instead of sent. All attachments of the image are copied,
too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devbox.attest import attachments
from devbox.errors import RegistryError
from devbox.execute import transfer
from devbox.execute.events import Note, Sink
from devbox.host.paths import Paths
from devbox.images.registry import credentials, graph, reference
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.reference import Reference, parse
from devbox.images.registry.repository import RegistryRepository
from devbox.images.registry.transfers import Transfers
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids
from devbox.model.ledger_payloads import CopiedPayload
from devbox.model.stage import Deployment, Stage
from devbox.promotion import target

CURRENT = "current"  # tag of a stage's current image
_DIGITS = 12  # of a release's digest in its tag


class Copier:
    """Copier for images of one store. `sources`: repositories that may have an image and its attachments."""

    def __init__(self, paths: Paths, sources: Sequence[str], sink: Sink) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        self._transfers = Transfers(paths)
        self._sources = tuple(dict.fromkeys(source for source in sources if source))
        self._sink = sink

    def copy(self, deployment: Deployment) -> CopiedPayload:
        """Copy an image and its attachments to the stage's repository; verify its digest again."""
        digest, repository = deployment.release.image, deployment.stage.repository
        self._gather(digest, but=repository)
        top = self._verify_manifests(digest)
        if not repository:
            return CopiedPayload(image=digest, repository="", sent=0)
        target.attach_release(deployment.release, top, self._oci)
        reference = parse(repository)._replace(tag=format_tag(deployment.release.id), digest="")
        pushed = transfer.push(self._transfers, top, reference, self._sink, paths=self._paths)
        RegistryRepository(RegistryConnection(credentials.get_origin(reference.host)), reference).fetch_manifest(
            digest
        )  # the response is hashed
        return CopiedPayload(image=digest, repository=str(reference), sent=pushed.sent)

    def mark(self, deployment: Deployment) -> None:
        """Move the tag `current` of the stage's repository to its current image, for users and other hosts.

        A repository that was added to the stage later gets the image, too.
        """
        if not deployment.stage.repository:
            return
        reference = parse(deployment.stage.repository)._replace(tag=CURRENT, digest="")
        try:
            repository = RegistryRepository(
                RegistryConnection(credentials.get_origin(reference.host)), reference, pushes=True
            )
            if not repository.resolve_digest(format_tag(deployment.release.id)):
                self.copy(deployment)
            if repository.resolve_digest(CURRENT) != deployment.release.image:
                found = repository.fetch_manifest(deployment.release.image)
                repository.put_manifest(CURRENT, found.descriptor.media_type, found.raw)
        except RegistryError as error:
            self._sink(Note(text=f"cannot update {deployment.stage.repository} yet: {error.sentence}"))

    def ensure_image(self, deployment: Deployment) -> CopiedPayload:
        """Ensure that the image is in the store, without a registry if possible. A rollback needs no approval."""
        digest = deployment.release.image
        if not self._oci.has_blob(digest):
            self._gather(digest, but="")
        self._verify_manifests(digest)
        return CopiedPayload(image=digest, repository="", sent=0)

    def _gather(self, digest: str, *, but: str) -> None:
        """Pull the image into the store, and its attachments from all sources."""
        missing = None
        for source in self._sources:
            if source != but or not self._oci.has_blob(digest):
                exact = parse(source)._replace(tag="", digest=digest)
                try:
                    if has_image(source, digest):
                        transfer.pull(self._transfers, exact, self._sink, all_platforms=True)
                    else:
                        missing = build_missing_error(source, digest)
                except RegistryError as error:
                    self._sink(Note(text=f"cannot query {source} for the image: {error.sentence}"))
                    missing = error
        if missing and not self._oci.has_blob(digest):
            raise missing

    def _verify_manifests(self, digest: str) -> Descriptor:
        """Return the image of the store after verifying the digests of its manifests."""
        raw = self._oci.read_raw(digest)
        if raw is None:
            raise RegistryError(f"image {digest} not found in the store", remedy="devbox image pull REPOSITORY@DIGEST")
        top = Descriptor(documents.read_text(documents.parse(raw), "mediaType") or layout.INDEX, digest, len(raw))
        for each in (top, *graph.parse_node(top, raw).children):
            found = self._oci.read_raw(each.digest)
            if found is not None and ids.compute_sha256(found) != each.digest:
                raise RegistryError(f"the store's copy of {digest} is damaged", remedy="devbox image verify")
        return top


def has_image(repository: str, digest: str) -> bool:
    """True if a repository has an image. Raises RegistryError if it cannot be queried."""
    return bool(find_digest(parse(repository)._replace(tag=digest, digest="")))


def build_missing_error(repository: str, digest: str) -> RegistryError:
    """Return the error for an image that a repository does not have."""
    return RegistryError(f"image {digest} not found in {repository}", remedy=f"devbox image pull REPOSITORY@{digest}")


def find_digest(reference: Reference) -> str:
    """Return the current digest of a tag; "" if the tag does not exist."""
    return RegistryRepository(RegistryConnection(credentials.get_origin(reference.host)), reference).resolve_digest(
        reference.tag
    )


def format_tag(release: str) -> str:
    """Return the tag of a release's image, which protects the image from garbage collection."""
    return f"release-{release.removeprefix('sha256:')[:_DIGITS]}"


def send(image: str, stages: Iterable[Stage], sink: Sink, *, paths: Paths) -> None:
    """Push the attachments of an image to the repositories of stages. Raises RegistryError."""
    top = attachments.find_subject(image, attachments.open_store(paths))
    for name in _list_repositories(stages):
        if Transfers(paths).push_attached(top, reference.parse(name), lambda _: None):
            sink(Note(text=f"published to {name}"))


def fetch(image: str, stages: Iterable[Stage], *, paths: Paths) -> None:
    """Pull the attachments of an image from the repositories of stages. Raises RegistryError."""
    top = attachments.find_subject(image, attachments.open_store(paths))
    for name in _list_repositories(stages):
        Transfers(paths).pull_attached(top, reference.parse(name), lambda _: None)


def _list_repositories(stages: Iterable[Stage]) -> list[str]:
    """Return the repositories of stages, each once."""
    return list(dict.fromkeys(stage.repository for stage in stages if stage.repository))
