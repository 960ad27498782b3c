"""From an image's digest to its layers, every document on the way hashed anew: what the store holds is not believed."""

from __future__ import annotations

from devbox.errors import RegistryError
from devbox.images import pulled, reach
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph
from devbox.model import ids
from devbox.model.image import Layer


def layers(oci: Layout, digest: str) -> tuple[Layer, ...]:
    """The layers of this machine's image of a digest, lowest first. RegistryError where a document is another one."""
    top = reach.described(digest, oci)
    node = graph.understand(top, _bytes(oci, digest))
    while node.children:
        child = graph.own_child(node)
        node = graph.understand(child, _bytes(oci, child.digest))
    config = node.blobs[0]
    _bytes(oci, config.digest)
    return pulled.layers_of(node, oci.read_json(config.digest))


def _bytes(oci: Layout, digest: str) -> bytes:
    raw = oci.read_raw(digest)
    if raw is None:
        raise RegistryError(f"{digest} is not in the store", remedy="devbox image verify")
    if ids.sha256(raw) != digest:
        raise RegistryError(f"{digest} was changed in the store: it is {ids.sha256(raw)}", remedy="devbox image verify")
    return raw


def top(oci: Layout, digest: str) -> Descriptor:
    """The descriptor of an image of the store, its document hashed anew."""
    _bytes(oci, digest)
    return reach.described(digest, oci)
