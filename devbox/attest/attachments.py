"""Attachments of an image in the store: sigstore bundles as referrers, and the legacy tags `….sig`, `….att`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from devbox.attest import envelopes
from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images import inspect, reachable
from devbox.images.registry import artifacts, graph
from devbox.images.store import documents, layout, lock
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids

EMPTY = "application/vnd.oci.empty.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
_PREDICATE = "dev.sigstore.bundle.predicateType"
_CONTENT = "dev.sigstore.bundle.content"


class Attachment(NamedTuple):
    """One unverified attachment. `digest`: of its manifest. `table`: its layer, as listed in the manifest.

    `raw`: empty if the layer does not name a blob.
    """

    digest: str
    media_type: str
    table: dict[str, Any]
    raw: bytes


def attach(raw: bytes, *, predicate_type: str, subject: Descriptor, paths: Paths) -> Descriptor:
    """Attach a bundle to an image of the store; return its manifest."""
    oci = open_store(paths)
    with lock.lock_shared(paths):
        digest = ids.compute_sha256(raw)
        oci.write_raw(digest, raw)
        manifest = {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": envelopes.BUNDLE_TYPE,
            "config": oci.write_json(EMPTY, {}).to_json(),
            "layers": [Descriptor(envelopes.BUNDLE_TYPE, digest, len(raw)).to_json()],
            "subject": subject.to_json(),
            "annotations": {_CONTENT: "dsse-envelope", _PREDICATE: predicate_type},
        }
        descriptor = oci.write_json(layout.MANIFEST, manifest)
        oci.add_unnamed(descriptor)
        return descriptor


def attach_legacy(payload: bytes, signature: bytes, *, subject: Descriptor, paths: Paths) -> Descriptor:
    """Add a signature to the image's legacy tag `….sig`."""
    oci, name = open_store(paths), graph.list_legacy_tags(subject.digest)[0]
    with lock.lock_shared(paths):
        layer = envelopes.build_layer(payload, signature)
        oci.write_raw(layer["digest"], payload)
        known = oci.read_refs().get(name)
        layers = [*(_list_layers(known, oci) if known else ()), layer]
        config = oci.write_json(layout.CONFIG, artifacts.build_config(layers))
        descriptor = oci.write_json(layout.MANIFEST, artifacts.build_manifest(layers, config))
        oci.set_ref(name, descriptor)
        return descriptor


def list_attached(subject: str, oci: Layout) -> Iterator[Attachment]:
    """Yield a manifest's attachments that claim to be signed, without missing or invalid ones."""
    for target in inspect.find_referrers({subject}, oci):
        if _read_kind(target, oci).startswith(envelopes.ANY_VERSION):
            yield from _read_contents(target, oci)
    tags = graph.list_legacy_tags(subject)
    seen = set()
    for name, target in oci.read_refs().items():
        if name.rpartition(":")[2] in tags and target not in seen:
            seen.add(target)
            yield from _read_contents(target, oci)


def open_store(paths: Paths) -> Layout:
    """Return the layout of a DEVBOX_HOME."""
    return Layout(paths.oci, lock=paths.lock("oci-index"))


def find_subject(digest: str, oci: Layout) -> Descriptor:
    """Return an image of the store as a subject for attachments; raise RegistryError if missing."""
    found = reachable.read_descriptor(digest, oci)
    if not found.media_type:
        raise RegistryError(
            f"image {digest} not found in the store", remedy="run devbox image pull REF or devbox build"
        )
    return found


def _read_contents(target: Descriptor, oci: Layout) -> Iterator[Attachment]:
    for layer in _list_layers(target, oci):
        media_type = str(layer.get("mediaType", ""))
        try:
            raw = oci.read_raw(documents.read_digest(layer), limit=envelopes.LIMIT)
        except ValueError:
            raw = b""  # verification reports it
        if raw is not None:
            yield Attachment(target.digest, media_type, layer, raw)


def _read_kind(target: Descriptor, oci: Layout) -> str:
    """Return the artifact type; older bundles use their config's media type instead."""
    plain = oci.read_json(target.digest)
    kind = plain.get("artifactType")
    return kind if isinstance(kind, str) and kind else str(documents.read_table(plain, "config").get("mediaType", ""))


def _list_layers(target: Descriptor, oci: Layout) -> list[dict[str, Any]]:
    try:
        return documents.read_tables(oci.read_json(target.digest), "layers")
    except (ValueError, RegistryError):
        return []
