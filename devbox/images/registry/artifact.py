"""One document at a registry, below a tag: an OCI artifact of one layer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from devbox.errors import RegistryError
from devbox.images import documents, layout
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph, settings
from devbox.images.registry.connection import Connection
from devbox.images.registry.progress import Meter
from devbox.images.registry.reference import Reference
from devbox.images.registry.repository import Repository
from devbox.images.registry.upload import upload
from devbox.model import ids

EMPTY = "application/vnd.oci.empty.v1+json"


def put(raw: bytes, media_type: str, reference: Reference, *, oci: Layout) -> str:
    """Have a tag name this document, in place of what it named; the digest of its manifest. Raises RegistryError."""
    repository = Repository(Connection(settings.origin(reference.host)), reference, pushes=True)
    oci.create()
    config, layer = oci.write_json(EMPTY, {}), Descriptor(media_type, ids.sha256(raw), len(raw))
    oci.write_raw(layer.digest, raw)
    for blob in (config, layer):
        upload(repository, blob, oci=oci, meter=Meter("pushing", lambda _: None))
    manifest = ids.canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": media_type,
            "config": config.plain(),
            "layers": [layer.plain()],
        }
    )
    repository.put_manifest(reference.tag, layout.MANIFEST, manifest)
    return ids.sha256(manifest)


def get(media_type: str, reference: Reference, *, repository: Repository | None = None) -> bytes | None:
    """The document below a tag; None where there is no such tag. Raises RegistryError for what is another.

    `repository`: its repository, if a connection to it is open.
    """
    repository = repository or Repository(Connection(settings.origin(reference.host)), reference)
    if not repository.digest(reference.tag):
        return None
    found = repository.manifest(reference.tag)
    layers = graph.understand(found.descriptor, found.raw).blobs[1:]
    if [layer.media_type for layer in layers] != [media_type] or layers[0].size > documents.LIMIT:
        raise RegistryError(
            f"{reference.familiar} is something else than {media_type}", remedy="was the tag moved? devbox image pull"
        )
    with repository.blob(layers[0].digest, offset=0) as (_, chunks):
        raw = b"".join(_upto(chunks, layers[0].size))
    if f"sha256:{hashlib.sha256(raw).hexdigest()}" != layers[0].digest:
        raise RegistryError(
            f"{reference.host} sent something else than the blob {layers[0].digest}",
            remedy="tell who runs it",
        )
    return raw


def _upto(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """No more than was announced, and a little: what is more has another digest."""
    got = 0
    for chunk in chunks:
        yield chunk
        got += len(chunk)
        if got > size:
            return
