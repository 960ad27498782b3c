"""What the store tells about its images: a list of them, and all about one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from devbox.errors import RegistryError, UsageError
from devbox.host.paths import Paths
from devbox.images import reach
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph
from devbox.images.stepcache import StepCache
from devbox.model.image import Baked

_SHORT = 12  # digits of a key in the name of a baked image


class Listed(NamedTuple):
    """An image by one of its names. `key` is "" for one that was not baked; `created` when it came into the store."""

    name: str
    key: str
    digest: str
    size: int
    created: float


class Image(NamedTuple):
    """All about an image, as this machine runs it."""

    names: list[str]
    keys: list[str]
    digest: str
    media_type: str
    manifest: str
    config_digest: str
    layers: list[dict[str, Any]]
    size: int
    platforms: list[str]
    config: dict[str, Any]
    referrers: list[dict[str, Any]]


def listed(paths: Paths) -> list[Listed]:
    """Every named image of the store, the newest first."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    rows = []
    for ref, target in oci.refs().items():
        if reach.is_legacy(ref):
            continue
        name, _, key = ref.rpartition("-")
        baked = "/" not in ref and len(key) == _SHORT
        with contextlib.suppress(FileNotFoundError):  # it was collected just now
            created = os.stat(oci.blob(target.digest)).st_mtime
            rows.append(Listed(name if baked else ref, key if baked else "", target.digest, size(target, oci), created))
    return sorted(rows, key=lambda row: (-row.created, row.name))


def size(top: Descriptor, oci: Layout) -> int:
    """Bytes of all of an image's blobs that are there."""
    return sum(os.stat(oci.blob(digest)).st_size for digest in reach.below(top, oci) if oci.has(digest))


def image(paths: Paths, top: Descriptor) -> Image:
    """All about an image of the store. Raises UsageError where a part of it is not there."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    own = own_node(top, oci)
    config_digest = own.blobs[0].digest
    config = oci.read_json(config_digest)
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return Image(
        names=sorted(ref for ref, target in oci.refs().items() if target.digest == top.digest),
        keys=sorted(_keys(top.digest, StepCache(paths).records())),
        digest=top.digest,
        media_type=top.media_type,
        manifest=own.descriptor.digest,
        config_digest=config_digest,
        layers=_layers(own.blobs[1:], diff_ids if isinstance(diff_ids, list) else []),
        size=size(top, oci),
        platforms=_platforms(top, oci, config),
        config=config,
        referrers=[_referrer(each, oci) for each in referrers({top.digest, own.descriptor.digest}, oci)],
    )


def own_node(top: Descriptor, oci: Layout) -> graph.Node:
    """The manifest that this machine runs; the first there is of an image for other machines only."""
    node = reach.look(top, oci)
    if node and node.children:
        children = [child for child in node.children if oci.has(child.digest)]
        with contextlib.suppress(RegistryError):
            children.insert(0, graph.own_child(node))
        return own_node(children[0], oci) if children else _lacking(top)
    return node if node and node.blobs and oci.has(node.blobs[0].digest) else _lacking(top)


def referrers(subjects: set[str], oci: Layout) -> list[Descriptor]:
    """What refers to any of these manifests."""
    return [target for target in oci.nameless() if reach.subject(target, oci) in subjects]


def _keys(digest: str, records: Mapping[str, object]) -> list[str]:
    return [key for key, made in records.items() if isinstance(made, Baked) and made.digest == digest]


def _layers(blobs: Sequence[Descriptor], diff_ids: Sequence[Any]) -> list[dict[str, Any]]:
    known = [*diff_ids, *[""] * len(blobs)]  # a config that does not say it all is still shown
    return [blob.plain(diffId=diff_id) for blob, diff_id in zip(blobs, known, strict=False)]


def _platforms(top: Descriptor, oci: Layout, config: Mapping[str, Any]) -> list[str]:
    node = reach.look(top, oci)
    known = node.platforms if node and node.children else ((config.get("os"), config.get("architecture")),)
    return ["/".join(str(part) for part in each if part) for each in known]


def _referrer(target: Descriptor, oci: Layout) -> dict[str, Any]:
    return target.plain(artifactType=oci.read_json(target.digest).get("artifactType", ""))


def _lacking(top: Descriptor) -> graph.Node:
    raise UsageError(
        f"the store does not have all of {top.digest}", remedy="devbox image verify, then devbox up or image pull"
    )
