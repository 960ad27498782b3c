"""Verification of the store: blobs are hashed again; damaged ones are removed with everything that needs them.

Removed objects are rebuilt or pulled again on demand.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection
from typing import NamedTuple

from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images import reachable
from devbox.images.registry import graph
from devbox.images.store import lock
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.step_cache import StepCache
from devbox.model.image import BakedImage, Layer


class Fault(NamedTuple):
    """A damaged or missing blob, and the images that contain it."""

    digest: str
    why: str
    images: tuple[str, ...]


class LostImage(NamedTuple):
    """An image that can be pulled again, and its lost blobs."""

    name: str
    digest: str
    blobs: tuple[str, ...]


class VerifyResult(NamedTuple):
    """Result of a verification: checked blobs, faults, and images that can be fetched again."""

    blobs: int
    size: int
    faults: tuple[Fault, ...]
    lost: tuple[LostImage, ...] = ()


def verify(paths: Paths, on_wait: Callable[[], None]) -> VerifyResult:
    """Hash all blobs; remove damaged ones. A store without faults is only read."""
    oci, cache = Layout(paths.oci, lock=paths.lock("oci-index")), StepCache(paths)
    digests = oci.list_digests()
    size = sum(_get_size(oci, digest) for digest in digests)
    suspects = [digest for digest in digests if _find_damage(oci, digest)]
    if not suspects and not _find_missing(oci, cache.read_records()):
        return VerifyResult(len(digests), size, ())
    with lock.lock_exclusive(paths, on_wait):  # checked again: garbage collection may have run
        damaged = {digest: why for digest in suspects if (why := _find_damage(oci, digest))}
        lost = damaged | dict.fromkeys(_find_missing(oci, cache.read_records()), "missing")
        faults = tuple(
            Fault(digest, why, tuple(reachable.find_names([digest], oci))) for digest, why in sorted(lost.items())
        )
        lost_images = _find_lost_images(oci, lost)
        _remove(cache, oci, lost)
    return VerifyResult(len(digests), size, faults, lost_images)


def check_image(top: Descriptor, oci: Layout) -> tuple[int, tuple[Fault, ...]]:
    """Hash the local blobs of one image without changes; return their number, and the faults."""
    promised = _list_promised(top, oci)
    present = {digest for digest in promised | reachable.collect_digests(top, oci) if oci.has_blob(digest)}
    wrong = {digest: why for digest in present if (why := _find_damage(oci, digest))}
    wrong |= dict.fromkeys(promised - present, "missing")
    return len(present), tuple(Fault(digest, why, ()) for digest, why in sorted(wrong.items()))


def _find_damage(oci: Layout, digest: str) -> str:
    """Return the damage of a blob; "" if intact or removed meanwhile."""
    try:
        with open(oci.get_blob_path(digest), "rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    return "" if digest == f"sha256:{found}" else f"{_get_size(oci, digest):,} bytes with the digest sha256:{found}"


def _find_missing(oci: Layout, records: reachable.Records) -> set[str]:
    """Return missing blobs that a record or name requires; other platforms of an index are optional."""
    promised = {digest for baked in records.values() for digest in _list_blobs(baked)}
    for _, target in reachable.list_entries(oci):
        promised |= _list_promised(target, oci)
    return {digest for digest in promised if not oci.has_blob(digest)}


def _list_promised(top: Descriptor, oci: Layout) -> set[str]:
    """Return the required blobs of a listed image: its manifest for the host's platform, and that manifest's blobs."""
    node, found = reachable.read_node(top, oci), {top.digest}
    if node and node.children:
        with contextlib.suppress(RegistryError):  # for other platforms only
            found |= _list_promised(graph.find_own_child(node), oci)
    elif node:
        found |= {blob.digest for blob in node.blobs}
    return found


def _list_blobs(baked: Layer | BakedImage) -> set[str]:
    if isinstance(baked, Layer):
        return {baked.digest}
    return {baked.digest, baked.manifest, baked.config_digest, *(layer.digest for layer in baked.layers)}


def _remove(cache: StepCache, oci: Layout, lost: Collection[str]) -> None:
    """Remove records first, then names, then blobs."""
    for key, baked in cache.read_records().items():
        if not _list_blobs(baked).isdisjoint(lost):
            cache.forget(key)
    broken = {
        target.digest
        for _, target in reachable.list_entries(oci)
        if not reachable.collect_digests(target, oci).isdisjoint(lost)
    }
    oci.retain_entries({target.digest for _, target in reachable.list_entries(oci)} - broken)
    for digest in lost:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(oci.get_blob_path(digest))


def _find_lost_images(oci: Layout, lost: Collection[str]) -> tuple[LostImage, ...]:
    """Return the damaged images whose name refers to a registry."""
    found = []
    for name, target in oci.read_refs().items():
        blobs = reachable.collect_digests(target, oci).intersection(lost)
        if "/" in name and blobs:
            found.append(LostImage(name, target.digest, tuple(sorted(blobs))))
    return tuple(found)


def _get_size(oci: Layout, digest: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(oci.get_blob_path(digest)).st_size
    return 0
