"""What of the store an image takes: from a few roots to all blobs and snapshots that they need."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from devbox.errors import RegistryError
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph
from devbox.model.image import Baked, Layer

_LEGACY = re.compile(r"sha256-[0-9a-f]{64}\.\w+")
Records = Mapping[str, Layer | Baked]


class Roots(NamedTuple):
    """What is needed by itself: keys of images and steps, digests of images that run, Dockerfiles to be built again."""

    keys: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    dockerfiles: frozenset[str] = frozenset()  # by their names in the cache

    def __or__(self, other: Roots) -> Roots:
        return Roots(self.keys | other.keys, self.digests | other.digests, self.dockerfiles | other.dockerfiles)


class Needed(NamedTuple):
    """Digests of blobs, and diff ids of snapshots."""

    blobs: frozenset[str]
    snapshots: frozenset[str]

    def holds(self, made: Layer | Baked) -> bool:
        """Whether all of a layer or an image is among them."""
        if isinstance(made, Layer):
            return made.digest in self.blobs and made.diff_id in self.snapshots
        return made.digest in self.blobs and all(map(self.holds, made.layers))


def needed(roots: Roots, records: Records, oci: Layout) -> Needed:
    """All that the roots take, with what refers to them: signatures, bills of materials."""
    made = [records[key] for key in roots.keys if key in records]
    made += [one for one in records.values() if isinstance(one, Baked) and one.digest in roots.digests]
    layers = [layer for one in made for layer in (one.layers if isinstance(one, Baked) else (one,))]
    blobs = {layer.digest for layer in layers}
    for top in {one.digest for one in made if isinstance(one, Baked)} | roots.digests:
        blobs |= below(described(top, oci), oci)
    referring = oci.nameless()
    while found := [target for target in referring if subject(target, oci) in blobs]:  # of a bill again: its signature
        referring = [target for target in referring if target not in found]
        blobs |= {digest for target in found for digest in below(target, oci)}
    for target in _tagged(blobs, oci):
        blobs |= below(target, oci)
    return Needed(frozenset(blobs), frozenset(layer.diff_id for layer in layers))


def entries(oci: Layout) -> list[tuple[str, Descriptor]]:
    """Everything that the layout lists, by its name or ""."""
    return [*oci.refs().items(), *(("", target) for target in oci.nameless())]


def below(top: Descriptor, oci: Layout) -> set[str]:
    """The digests of a manifest or index and of all that it leads to, there or not."""
    node = look(top, oci)
    found = {top.digest}
    if node:
        found |= {blob.digest for blob in node.blobs}
        for child in node.children:
            found |= below(child, oci)
    return found


def described(digest: str, oci: Layout) -> Descriptor:
    """The descriptor of a manifest or index of which only the digest is known."""
    return graph.described(digest, oci.read_raw(digest) or b"")


def subject(top: Descriptor, oci: Layout) -> str:
    """The digest of the image that a manifest refers to; "" where it refers to none."""
    node = look(top, oci)
    return node.subject if node else ""


def is_legacy(name: str) -> bool:
    """Whether an entry is named as signatures and attestations of old are: `…:sha256-….sig`."""
    return _LEGACY.fullmatch(name.rpartition(":")[2]) is not None


def _tagged(subjects: Collection[str], oci: Layout) -> list[Descriptor]:
    """What the tags of old of these manifests lead to."""
    tags = {tag for digest in subjects for tag in graph.legacy_tags(digest)}
    return [target for name, target in oci.refs().items() if is_legacy(name) and name.rpartition(":")[2] in tags]


def look(top: Descriptor, oci: Layout) -> graph.Node | None:
    """A manifest or index, understood; None where it is not there, or is none."""
    raw = oci.read_raw(top.digest) if graph.is_manifest(top.media_type) else None
    try:
        return graph.understand(top, raw) if raw is not None else None
    except RegistryError:
        return None


def names(digests: Iterable[str], oci: Layout) -> list[str]:
    """The listed images that take any of these blobs, by name."""
    wanted = set(digests)
    return sorted({name for name, target in oci.refs().items() if below(target, oci) & wanted})
