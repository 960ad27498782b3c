"""Verification: every blob is hashed again. One that is not what its name says is removed, and what needs it with it.

So it is made or pulled again when it is wanted next, instead of being believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection
from typing import NamedTuple

from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images import gate, reach
from devbox.images.layout import Descriptor, Layout
from devbox.images.reach import Records
from devbox.images.registry import graph
from devbox.images.stepcache import StepCache
from devbox.model.image import Baked, Layer


class Fault(NamedTuple):
    """A blob that is damaged or missing, and the images that it belongs to."""

    digest: str
    why: str
    images: tuple[str, ...]


class Lost(NamedTuple):
    """An image that a registry has, too, and what was lost of it here."""

    name: str
    digest: str
    blobs: tuple[str, ...]


class Verified(NamedTuple):
    """What was looked at, and what was wrong; which images can be got again from where they came or went."""

    blobs: int
    size: int
    faults: tuple[Fault, ...]
    lost: tuple[Lost, ...] = ()


def verify(paths: Paths, on_wait: Callable[[], None]) -> Verified:
    """Hash everything; remove what is damaged. A store of which nothing was wrong is only read."""
    oci, cache = Layout(paths.oci, lock=paths.lock("oci-index")), StepCache(paths)
    digests = oci.digests()
    size = sum(_size(oci, digest) for digest in digests)
    suspects = [digest for digest in digests if _damage(oci, digest)]
    if not suspects and not _missing(oci, cache.records()):
        return Verified(len(digests), size, ())
    with gate.closed(paths, on_wait):  # looked at again: a collector may have been at work
        damaged = {digest: why for digest in suspects if (why := _damage(oci, digest))}
        lost = damaged | dict.fromkeys(_missing(oci, cache.records()), "it is missing")
        faults = tuple(Fault(digest, why, tuple(reach.names([digest], oci))) for digest, why in sorted(lost.items()))
        elsewhere = _elsewhere(oci, lost)
        _remove(cache, oci, lost)
    return Verified(len(digests), size, faults, elsewhere)


def look(top: Descriptor, oci: Layout) -> tuple[int, tuple[Fault, ...]]:
    """Hash what one image has here, changing nothing: how many blobs, and which are damaged or missing."""
    promised = _promised(top, oci)
    there = {digest for digest in promised | reach.below(top, oci) if oci.has(digest)}
    wrong = {digest: why for digest in there if (why := _damage(oci, digest))}
    wrong |= dict.fromkeys(promised - there, "it is missing")
    return len(there), tuple(Fault(digest, why, ()) for digest, why in sorted(wrong.items()))


def _damage(oci: Layout, digest: str) -> str:
    """What is wrong with a blob's bytes; "" when nothing is, or when it is gone by now."""
    try:
        with open(oci.blob(digest), "rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    return "" if digest == f"sha256:{found}" else f"its {_size(oci, digest):,} bytes have the digest sha256:{found}"


def _missing(oci: Layout, records: Records) -> set[str]:
    """Blobs that a record or a name promises. What an index has for other machines is no promise."""
    promised = {digest for made in records.values() for digest in _taken(made)}
    for _, target in reach.entries(oci):
        promised |= _promised(target, oci)
    return {digest for digest in promised if not oci.has(digest)}


def _promised(top: Descriptor, oci: Layout) -> set[str]:
    """What a listed image must have: its manifest for this machine, and the blobs of that."""
    node, found = reach.look(top, oci), {top.digest}
    if node and node.children:
        with contextlib.suppress(RegistryError):  # it is for other machines only
            found |= _promised(graph.own_child(node), oci)
    elif node:
        found |= {blob.digest for blob in node.blobs}
    return found


def _taken(made: Layer | Baked) -> set[str]:
    if isinstance(made, Layer):
        return {made.digest}
    return {made.digest, made.manifest, made.config_digest, *(layer.digest for layer in made.layers)}


def _remove(cache: StepCache, oci: Layout, lost: Collection[str]) -> None:
    """Records first, then names, then the blobs themselves."""
    for key, made in cache.records().items():
        if not _taken(made).isdisjoint(lost):
            cache.forget(key)
    broken = {target.digest for _, target in reach.entries(oci) if not reach.below(target, oci).isdisjoint(lost)}
    oci.keep_entries({target.digest for _, target in reach.entries(oci)} - broken)
    for digest in lost:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(oci.blob(digest))


def _elsewhere(oci: Layout, lost: Collection[str]) -> tuple[Lost, ...]:
    """The images that lose something and are named by a registry."""
    found = []
    for name, target in oci.refs().items():
        blobs = reach.below(target, oci).intersection(lost)
        if "/" in name and blobs:
            found.append(Lost(name, target.digest, tuple(sorted(blobs))))
    return tuple(found)


def _size(oci: Layout, digest: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(oci.blob(digest)).st_size
    return 0
