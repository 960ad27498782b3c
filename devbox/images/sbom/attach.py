"""The bill of an image of the store: made from its layers, and attached to it as OCI artifacts that refer to it.

It is of what the layers hold, whoever made them, and of nothing that refers to the image and claims to be its bill.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from devbox.errors import RegistryError, UsageError
from devbox.host.paths import Paths
from devbox.images import gate, inspect, layout, reach
from devbox.images.epoch import SOURCE_DATE_EPOCH
from devbox.images.layout import Descriptor, Layout
from devbox.images.pulled import layers_of
from devbox.images.sbom import cyclonedx, packages, spdx, tree
from devbox.images.sbom.bill import GENERATOR, Bill
from devbox.model import ids

FORMATS = {"spdx": spdx, "cyclonedx": cyclonedx}
_GENERATOR = "devbox.sbom.generator"
_EMPTY = "application/vnd.oci.empty.v1+json"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def attached(top: Descriptor, paths: Paths) -> dict[str, bytes]:
    """The bill of an image in every format, which the image has then. Raises UsageError where its layers are not there.

    Equal images give equal bytes.
    """
    with gate.kept(paths):
        oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        subject = described(top, oci)
        made = bill(top, oci)
        documents = {name: _written(kind.document(made)) for name, kind in FORMATS.items()}
        for name, raw in documents.items():
            _attach(raw, FORMATS[name].MEDIA_TYPE, subject, oci)
        return documents


def ensure(top: Descriptor, paths: Paths) -> None:
    """Have an image that was baked here carry its bill, before it goes to others. Others' images stay as they are."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    baked = any("/" not in name and target.digest == top.digest for name, target in oci.refs().items())
    if baked and not _has_all(described(top, oci), oci):
        attached(top, paths)


def bill(top: Descriptor, oci: Layout) -> Bill:
    """What the image holds, as this machine runs it. Layers and the documents that list them are hashed.

    RegistryError if the store's copy of a document is damaged.
    """
    node = inspect.own_node(top, oci)
    config = oci.read_json(node.blobs[0].digest)
    for digest in (top.digest, node.descriptor.digest, node.blobs[0].digest):
        if ids.sha256(oci.read_raw(digest) or b"") != digest:
            raise RegistryError(f"the store's copy of {digest} is damaged", remedy="devbox image verify")
    layers = layers_of(node, config)
    if not all(oci.has(layer.digest) for layer in layers):
        raise UsageError(f"the store lacks layers of {top.digest}", remedy="devbox up, or devbox image pull")
    found = packages.of(tree.read(layers, oci))
    return Bill(image=described(top, oci).digest, packages=found, created=_moment(config.get("created")))


def described(top: Descriptor, oci: Layout) -> Descriptor:
    """What a bill of this machine's platform is about: the index where it has no other, else the manifest."""
    node = reach.look(top, oci)
    platforms = {each for each in node.platforms if each[0] != "unknown"} if node else set()
    return top if len(platforms) <= 1 else inspect.own_node(top, oci).descriptor


def _attach(raw: bytes, media_type: str, subject: Descriptor, oci: Layout) -> None:
    digest = ids.sha256(raw)
    oci.write_raw(digest, raw)
    manifest = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": media_type,
        "config": oci.write_json(_EMPTY, {}).plain(),
        "layers": [Descriptor(media_type, digest, len(raw)).plain()],
        "subject": subject.plain(),
        "annotations": {_GENERATOR: GENERATOR},
    }
    oci.add_nameless(oci.write_json(layout.MANIFEST, manifest))


def _has_all(subject: Descriptor, oci: Layout) -> bool:
    found = [oci.read_json(each.digest) for each in inspect.referrers({subject.digest}, oci)]
    own = {each.get("artifactType") for each in found if _generator(each) == GENERATOR}
    return own >= {kind.MEDIA_TYPE for kind in FORMATS.values()}


def _generator(manifest: dict[str, Any]) -> object:
    annotations = manifest.get("annotations")
    return annotations.get(_GENERATOR) if isinstance(annotations, dict) else None


def _moment(created: object) -> str:
    """When the image was made, as SPDX writes it; no other time would be the same tomorrow."""
    found = _MOMENT.match(created) if isinstance(created, str) else None
    return f"{found[0]}Z" if found else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SOURCE_DATE_EPOCH))


def _written(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(errors="replace")
