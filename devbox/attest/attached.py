"""What is attached to an image in the store: sigstore bundles that refer to it; the tags `….sig`, `….att` of old."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from devbox.attest import bundle, simplesigning
from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images import documents, gate, inspect, layout, reach
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph, legacy
from devbox.model import ids

EMPTY = "application/vnd.oci.empty.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
_PREDICATE = "dev.sigstore.bundle.predicateType"
_CONTENT = "dev.sigstore.bundle.content"


class Attached(NamedTuple):
    """One thing attached, not believed yet. `digest`: of its manifest. `table`: its layer, as the manifest lists it.

    `raw`: empty if the layer names no blob.
    """

    digest: str
    media_type: str
    table: dict[str, Any]
    raw: bytes


def attach(raw: bytes, *, predicate_type: str, subject: Descriptor, paths: Paths) -> Descriptor:
    """Have a bundle refer to an image of the store; the manifest that does."""
    oci = store(paths)
    with gate.kept(paths):
        digest = ids.sha256(raw)
        oci.write_raw(digest, raw)
        manifest = {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": bundle.MEDIA_TYPE,
            "config": oci.write_json(EMPTY, {}).plain(),
            "layers": [Descriptor(bundle.MEDIA_TYPE, digest, len(raw)).plain()],
            "subject": subject.plain(),
            "annotations": {_CONTENT: "dsse-envelope", _PREDICATE: predicate_type},
        }
        made = oci.write_json(layout.MANIFEST, manifest)
        oci.add_nameless(made)
        return made


def sign_of_old(payload: bytes, signature: bytes, *, subject: Descriptor, paths: Paths) -> Descriptor:
    """Add a signature to those below the image's tag `….sig`."""
    oci, name = store(paths), graph.legacy_tags(subject.digest)[0]
    with gate.kept(paths):
        layer = simplesigning.layer(payload, signature)
        oci.write_raw(layer["digest"], payload)
        known = oci.refs().get(name)
        layers = [*(_layers(known, oci) if known else ()), layer]
        config = oci.write_json(layout.CONFIG, legacy.config(layers))
        made = oci.write_json(layout.MANIFEST, legacy.manifest(layers, config))
        oci.set_ref(name, made)
        return made


def of(subject: str, oci: Layout) -> Iterator[Attached]:
    """Everything attached to a manifest that claims to be signed. What is not there, or is no manifest, is left out."""
    for target in inspect.referrers({subject}, oci):
        if _kind(target, oci).startswith(bundle.ANY_VERSION):
            yield from _contents(target, oci)
    tags = graph.legacy_tags(subject)
    seen = set()
    for name, target in oci.refs().items():
        if name.rpartition(":")[2] in tags and target not in seen:
            seen.add(target)
            yield from _contents(target, oci)


def store(paths: Paths) -> Layout:
    """The layout of a DEVBOX_HOME."""
    return Layout(paths.oci, lock=paths.lock("oci-index"))


def subject_of(digest: str, oci: Layout) -> Descriptor:
    """An image of the store by its digest, as what is attached refers to it. Raises RegistryError."""
    found = reach.described(digest, oci)
    if not found.media_type:
        raise RegistryError(f"the store has no image {digest}", remedy="devbox image pull REF, or devbox build")
    return found


def _contents(target: Descriptor, oci: Layout) -> Iterator[Attached]:
    for layer in _layers(target, oci):
        media_type = str(layer.get("mediaType", ""))
        try:
            raw = oci.read_raw(documents.digest(layer), limit=bundle.LIMIT)
        except ValueError:
            raw = b""  # verification reports it
        if raw is not None:
            yield Attached(target.digest, media_type, layer, raw)


def _kind(target: Descriptor, oci: Layout) -> str:
    """The artifact type: newer bundles say it themselves, older ones by the type of their config."""
    plain = oci.read_json(target.digest)
    kind = plain.get("artifactType")
    return kind if isinstance(kind, str) and kind else str(documents.table(plain, "config").get("mediaType", ""))


def _layers(target: Descriptor, oci: Layout) -> list[dict[str, Any]]:
    try:
        return documents.tables(oci.read_json(target.digest), "layers")
    except (ValueError, RegistryError):
        return []
