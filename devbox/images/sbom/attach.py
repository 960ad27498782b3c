"""SBOM of an image in the store: generated from its layers, and attached as OCI artifacts.

It covers the content of the layers, independently of existing referrers that claim to be the image's SBOM.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from devbox.errors import RegistryError, UsageError
from devbox.host.paths import Paths
from devbox.images import inspect, reachable
from devbox.images.bake.pulled import list_layers
from devbox.images.sbom import documents, packages, tree
from devbox.images.sbom.documents import GENERATOR, Sbom
from devbox.images.store import lock
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids

FORMATS = {
    "spdx": (documents.SPDX_TYPE, documents.write_spdx),
    "cyclonedx": (documents.CYCLONEDX_TYPE, documents.write_cyclonedx),
}
_GENERATOR = "devbox.sbom.generator"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def attach_sbom(top: Descriptor, paths: Paths) -> dict[str, bytes]:
    """Generate and attach the image's SBOM in every format; raise UsageError if layers are missing.

    Equal images give equal bytes.
    """
    with lock.lock_shared(paths):
        oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        subject = find_subject(top, oci)
        sbom = build_sbom(top, oci)
        written = {name: _encode_document(write(sbom)) for name, (_, write) in FORMATS.items()}
        for name, raw in written.items():
            oci.attach(raw, FORMATS[name][0], subject, annotations={_GENERATOR: GENERATOR})
        return written


def ensure_attached(top: Descriptor, paths: Paths) -> None:
    """Attach the SBOM to a locally built image before publication; images from elsewhere are not changed."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    baked = any("/" not in name and target.digest == top.digest for name, target in oci.read_refs().items())
    if baked and not _has_all(find_subject(top, oci), oci):
        attach_sbom(top, paths)


def build_sbom(top: Descriptor, oci: Layout) -> Sbom:
    """Build the image's SBOM for the host's platform. Layers and manifests are hashed.

    Raises RegistryError if the store's copy of a document is damaged.
    """
    node = inspect.find_own_node(top, oci)
    config = oci.read_json(node.blobs[0].digest)
    for digest in (top.digest, node.descriptor.digest, node.blobs[0].digest):
        if ids.compute_sha256(oci.read_raw(digest) or b"") != digest:
            raise RegistryError(f"the store's copy of {digest} is damaged", remedy="devbox image verify")
    layers = list_layers(node, config)
    if not all(oci.has_blob(layer.digest) for layer in layers):
        raise UsageError(f"missing layers of {top.digest} in the store", remedy="run devbox up or devbox image pull")
    found = packages.find_packages(tree.read_tree(layers, oci))
    return Sbom(image=find_subject(top, oci).digest, packages=found, created=_format_created(config.get("created")))


def find_subject(top: Descriptor, oci: Layout) -> Descriptor:
    """Return the SBOM's subject: the index if the host's platform is its only one, else the manifest."""
    node = reachable.read_node(top, oci)
    platforms = {each for each in node.platforms if each[0] != "unknown"} if node else set()
    return top if len(platforms) <= 1 else inspect.find_own_node(top, oci).descriptor


def _has_all(subject: Descriptor, oci: Layout) -> bool:
    found = [oci.read_json(each.digest) for each in inspect.find_referrers({subject.digest}, oci)]
    own = {each.get("artifactType") for each in found if _read_generator(each) == GENERATOR}
    return own >= {media_type for media_type, _ in FORMATS.values()}


def _read_generator(manifest: dict[str, Any]) -> object:
    annotations = manifest.get("annotations")
    return annotations.get(_GENERATOR) if isinstance(annotations, dict) else None


def _format_created(created: object) -> str:
    """Return the image's creation time in SPDX format; deterministic if the image has none."""
    found = _MOMENT.match(created) if isinstance(created, str) else None
    return f"{found[0]}Z" if found else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SOURCE_DATE_EPOCH))


def _encode_document(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(errors="replace")
