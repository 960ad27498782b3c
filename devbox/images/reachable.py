"""What of the store an image takes: from a few roots to all blobs and snapshots that they need."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from devbox.errors import RegistryError
from devbox.images.bake import pulled
from devbox.images.registry import graph
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids
from devbox.model.image import BakedImage, Layer

_LEGACY = re.compile(r"sha256-[0-9a-f]{64}\.\w+")
Records = Mapping[str, Layer | BakedImage]


class Roots(NamedTuple):
    """What is needed by itself: keys of images and steps, digests of images that run, Dockerfiles to be built again."""

    keys: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    dockerfiles: frozenset[str] = frozenset()  # by their names in the cache

    def __or__(self, other: Roots) -> Roots:
        return Roots(self.keys | other.keys, self.digests | other.digests, self.dockerfiles | other.dockerfiles)


class ReachableData(NamedTuple):
    """Digests of blobs, and diff ids of snapshots."""

    blobs: frozenset[str]
    snapshots: frozenset[str]

    def holds(self, made: Layer | BakedImage) -> bool:
        """Whether all of a layer or an image is among them."""
        if isinstance(made, Layer):
            return made.digest in self.blobs and made.diff_id in self.snapshots
        return made.digest in self.blobs and all(map(self.holds, made.layers))


def find_needed(roots: Roots, records: Records, oci: Layout) -> ReachableData:
    """All that the roots take, with what refers to them: signatures, bills of materials."""
    made = [records[key] for key in roots.keys if key in records]
    made += [one for one in records.values() if isinstance(one, BakedImage) and one.digest in roots.digests]
    layers = [layer for one in made for layer in (one.layers if isinstance(one, BakedImage) else (one,))]
    blobs = {layer.digest for layer in layers}
    for top in {one.digest for one in made if isinstance(one, BakedImage)} | roots.digests:
        blobs |= collect_digests(read_descriptor(top, oci), oci)
    referring = oci.list_unnamed()
    while found := [
        target for target in referring if find_subject(target, oci) in blobs
    ]:  # of a bill again: its signature
        referring = [target for target in referring if target not in found]
        blobs |= {digest for target in found for digest in collect_digests(target, oci)}
    for target in _find_tagged(blobs, oci):
        blobs |= collect_digests(target, oci)
    return ReachableData(frozenset(blobs), frozenset(layer.diff_id for layer in layers))


def list_entries(oci: Layout) -> list[tuple[str, Descriptor]]:
    """Everything that the layout lists, by its name or ""."""
    return [*oci.read_refs().items(), *(("", target) for target in oci.list_unnamed())]


def collect_digests(top: Descriptor, oci: Layout) -> set[str]:
    """The digests of a manifest or index and of all that it leads to, there or not."""
    node = read_node(top, oci)
    found = {top.digest}
    if node:
        found |= {blob.digest for blob in node.blobs}
        for child in node.children:
            found |= collect_digests(child, oci)
    return found


def read_descriptor(digest: str, oci: Layout) -> Descriptor:
    """The descriptor of a manifest or index of which only the digest is known."""
    return graph.derive_descriptor(digest, oci.read_raw(digest) or b"")


def find_subject(top: Descriptor, oci: Layout) -> str:
    """The digest of the image that a manifest refers to; "" where it refers to none."""
    node = read_node(top, oci)
    return node.subject if node else ""


def is_legacy(name: str) -> bool:
    """Whether an entry is named as signatures and attestations of old are: `…:sha256-….sig`."""
    return _LEGACY.fullmatch(name.rpartition(":")[2]) is not None


def _find_tagged(subjects: Collection[str], oci: Layout) -> list[Descriptor]:
    """What the tags of old of these manifests lead to."""
    tags = {tag for digest in subjects for tag in graph.list_legacy_tags(digest)}
    return [target for name, target in oci.read_refs().items() if is_legacy(name) and name.rpartition(":")[2] in tags]


def read_node(top: Descriptor, oci: Layout) -> graph.Node | None:
    """A manifest or index, understood; None where it is not there, or is none."""
    raw = oci.read_raw(top.digest) if graph.is_manifest(top.media_type) else None
    try:
        return graph.parse_node(top, raw) if raw is not None else None
    except RegistryError:
        return None


def find_names(digests: Iterable[str], oci: Layout) -> list[str]:
    """The listed images that take any of these blobs, by name."""
    wanted = set(digests)
    return sorted({name for name, target in oci.read_refs().items() if collect_digests(target, oci) & wanted})


def read_layers(oci: Layout, digest: str) -> tuple[Layer, ...]:
    """The layers of this machine's image of a digest, lowest first. RegistryError where a document is another one."""
    top = read_descriptor(digest, oci)
    node = graph.parse_node(top, _read_verified(oci, digest))
    while node.children:
        child = graph.find_own_child(node)
        node = graph.parse_node(child, _read_verified(oci, child.digest))
    config = node.blobs[0]
    _read_verified(oci, config.digest)
    return pulled.list_layers(node, oci.read_json(config.digest))


def _read_verified(oci: Layout, digest: str) -> bytes:
    raw = oci.read_raw(digest)
    if raw is None:
        raise RegistryError(f"{digest} is not in the store", remedy="devbox image verify")
    if ids.compute_sha256(raw) != digest:
        raise RegistryError(
            f"{digest} was changed in the store: it is {ids.compute_sha256(raw)}", remedy="devbox image verify"
        )
    return raw


def verify_descriptor(oci: Layout, digest: str) -> Descriptor:
    """The descriptor of an image of the store, its document hashed anew."""
    _read_verified(oci, digest)
    return read_descriptor(digest, oci)
