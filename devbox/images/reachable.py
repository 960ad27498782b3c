"""Reachability in the store: the blobs and snapshots that are needed by a set of roots."""

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
    """Roots: keys of images and steps, digests of running images, Dockerfiles with a build cache."""

    keys: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    dockerfiles: frozenset[str] = frozenset()  # by their names in the cache

    def __or__(self, other: Roots) -> Roots:
        return Roots(self.keys | other.keys, self.digests | other.digests, self.dockerfiles | other.dockerfiles)


class ReachableData(NamedTuple):
    """Digests of blobs, and diff ids of snapshots."""

    blobs: frozenset[str]
    snapshots: frozenset[str]

    def holds(self, baked: Layer | BakedImage) -> bool:
        """Return whether a layer or image is completely included."""
        if isinstance(baked, Layer):
            return baked.digest in self.blobs and baked.diff_id in self.snapshots
        return baked.digest in self.blobs and all(map(self.holds, baked.layers))


def find_needed(roots: Roots, records: Records, oci: Layout) -> ReachableData:
    """Return everything reachable from the roots, including referrers: signatures, SBOMs."""
    baked = [records[key] for key in roots.keys if key in records]
    baked += [one for one in records.values() if isinstance(one, BakedImage) and one.digest in roots.digests]
    layers = [layer for one in baked for layer in (one.layers if isinstance(one, BakedImage) else (one,))]
    blobs = {layer.digest for layer in layers}
    for top in {one.digest for one in baked if isinstance(one, BakedImage)} | roots.digests:
        blobs |= collect_digests(read_descriptor(top, oci), oci)
    referring = oci.list_unnamed()
    while found := [
        target for target in referring if find_subject(target, oci) in blobs
    ]:  # referrers of referrers: an SBOM's signature
        referring = [target for target in referring if target not in found]
        blobs |= {digest for target in found for digest in collect_digests(target, oci)}
    for target in _find_tagged(blobs, oci):
        blobs |= collect_digests(target, oci)
    return ReachableData(frozenset(blobs), frozenset(layer.diff_id for layer in layers))


def list_entries(oci: Layout) -> list[tuple[str, Descriptor]]:
    """Return all entries of the layout's index as (name or "", descriptor)."""
    return [*oci.read_refs().items(), *(("", target) for target in oci.list_unnamed())]


def collect_digests(top: Descriptor, oci: Layout) -> set[str]:
    """Return the digests of a manifest or index and of all its descendants, available or not."""
    node = read_node(top, oci)
    found = {top.digest}
    if node:
        found |= {blob.digest for blob in node.blobs}
        for child in node.children:
            found |= collect_digests(child, oci)
    return found


def read_descriptor(digest: str, oci: Layout) -> Descriptor:
    """Return the descriptor of a manifest or index of known digest."""
    return graph.derive_descriptor(digest, oci.read_raw(digest) or b"")


def find_subject(top: Descriptor, oci: Layout) -> str:
    """Return the digest of the image that a manifest refers to; "" if none."""
    node = read_node(top, oci)
    return node.subject if node else ""


def is_legacy(name: str) -> bool:
    """Return whether a name has the legacy form for signatures and attestations: `…:sha256-….sig`."""
    return _LEGACY.fullmatch(name.rpartition(":")[2]) is not None


def _find_tagged(subjects: Collection[str], oci: Layout) -> list[Descriptor]:
    """Return the targets of these manifests' legacy tags."""
    tags = {tag for digest in subjects for tag in graph.list_legacy_tags(digest)}
    return [target for name, target in oci.read_refs().items() if is_legacy(name) and name.rpartition(":")[2] in tags]


def read_node(top: Descriptor, oci: Layout) -> graph.Node | None:
    """Return a parsed manifest or index; None if missing or of another kind."""
    raw = oci.read_raw(top.digest) if graph.is_manifest(top.media_type) else None
    try:
        return graph.parse_node(top, raw) if raw is not None else None
    except RegistryError:
        return None


def find_names(digests: Iterable[str], oci: Layout) -> list[str]:
    """Return the names of images that use any of these blobs."""
    desired = set(digests)
    return sorted({name for name, target in oci.read_refs().items() if collect_digests(target, oci) & desired})


def read_layers(oci: Layout, digest: str) -> tuple[Layer, ...]:
    """Return the layers of a digest's image for the host, lowest first. RegistryError if a document is altered."""
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
        raise RegistryError(f"{digest} not found in the store", remedy="devbox image verify")
    if ids.compute_sha256(raw) != digest:
        raise RegistryError(
            f"digest mismatch of {digest} in the store: got {ids.compute_sha256(raw)}", remedy="devbox image verify"
        )
    return raw


def verify_descriptor(oci: Layout, digest: str) -> Descriptor:
    """Return the descriptor of an image of the store after hashing its document again."""
    _read_verified(oci, digest)
    return read_descriptor(digest, oci)
