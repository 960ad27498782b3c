"""Documents in a registry, stored under a tag as a single-layer OCI artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from devbox.errors import RegistryError
from devbox.images.registry import credentials, graph
from devbox.images.registry.blobs import Meter, upload
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.reference import Reference
from devbox.images.registry.repository import RegistryRepository
from devbox.images.store import documents, layout
from devbox.model import ids


def push_artifact(raw: bytes, media_type: str, reference: Reference, *, oci: layout.Layout) -> str:
    """Push the document under a tag, replacing its target; return the manifest digest. Raises RegistryError."""
    repository = RegistryRepository(RegistryConnection(credentials.get_origin(reference.host)), reference, pushes=True)
    oci.create()
    config, layer = oci.write_json(layout.EMPTY, {}), layout.Descriptor(media_type, ids.compute_sha256(raw), len(raw))
    oci.write_raw(layer.digest, raw)
    for blob in (config, layer):
        upload(repository, blob, oci=oci, meter=Meter("pushing", lambda _: None))
    manifest = ids.encode_canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": media_type,
            "config": config.to_json(),
            "layers": [layer.to_json()],
        }
    )
    repository.put_manifest(reference.tag, layout.MANIFEST, manifest)
    return ids.compute_sha256(manifest)


def fetch_artifact(
    media_type: str, reference: Reference, *, repository: RegistryRepository | None = None
) -> bytes | None:
    """Return the document under a tag; None if the tag does not exist. Raises RegistryError for another type.

    `repository`: an open connection to reuse.
    """
    repository = repository or RegistryRepository(RegistryConnection(credentials.get_origin(reference.host)), reference)
    if not repository.resolve_digest(reference.tag):
        return None
    found = repository.fetch_manifest(reference.tag)
    layers = graph.parse_node(found.descriptor, found.raw).blobs[1:]
    if [layer.media_type for layer in layers] != [media_type] or layers[0].size > documents.LIMIT:
        raise RegistryError(
            f"unexpected type of {reference.familiar_name}: expected {media_type}",
            remedy="check whether the tag was moved: devbox image pull",
        )
    with repository.open_blob(layers[0].digest, offset=0) as (_, chunks):
        raw = b"".join(_limit_bytes(chunks, layers[0].size))
    if f"sha256:{hashlib.sha256(raw).hexdigest()}" != layers[0].digest:
        raise RegistryError(
            f"unexpected content from {reference.host}: does not match the digest of blob {layers[0].digest}",
            remedy="report it to the registry's operator",
        )
    return raw


def _limit_bytes(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Stop after the announced size: additional bytes change the digest anyway."""
    got = 0
    for chunk in chunks:
        yield chunk
        got += len(chunk)
        if got > size:
            return


def merge_layers(manifests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the layers of several manifests without duplicates; raise ValueError if one is invalid."""
    found: list[dict[str, Any]] = []
    for plain in manifests:
        found += [each for each in documents.read_tables(plain, "layers") if each not in found]
    return found


def build_config(listed: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Build the config of a manifest with these layers in cosign's format."""
    diff_ids = [documents.read_digest(layer) for layer in listed]
    return {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}


def build_manifest(listed: list[dict[str, Any]], of: layout.Descriptor) -> dict[str, Any]:
    """Build the manifest of layers and their config."""
    return {"schemaVersion": 2, "mediaType": layout.MANIFEST, "config": of.to_json(), "layers": listed}
