"""Image list and image details of the store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from devbox.errors import RegistryError, UsageError
from devbox.host.paths import Paths
from devbox.images import reachable
from devbox.images.registry import graph
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.step_cache import StepCache
from devbox.model.image import BakedImage

_SHORT = 12  # digits of a key in the name of a built image


class ImageSummary(NamedTuple):
    """An image under one of its names. `key` is "" if it was not built here; `created` is the time of its import."""

    name: str
    key: str
    digest: str
    size: int
    created: float


class ImageDetails(NamedTuple):
    """Details of an image, for the host's platform."""

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


def list_images(paths: Paths) -> list[ImageSummary]:
    """Return every named image of the store, newest first."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    rows = []
    for ref, target in oci.read_refs().items():
        if reachable.is_legacy(ref):
            continue
        name, _, key = ref.rpartition("-")
        baked = "/" not in ref and len(key) == _SHORT
        with contextlib.suppress(FileNotFoundError):  # collected concurrently
            created = os.stat(oci.get_blob_path(target.digest)).st_mtime
            rows.append(
                ImageSummary(
                    name if baked else ref, key if baked else "", target.digest, measure_size(target, oci), created
                )
            )
    return sorted(rows, key=lambda row: (-row.created, row.name))


def measure_size(top: Descriptor, oci: Layout) -> int:
    """Return the total size of an image's available blobs in bytes."""
    return sum(
        os.stat(oci.get_blob_path(digest)).st_size
        for digest in reachable.collect_digests(top, oci)
        if oci.has_blob(digest)
    )


def inspect_image(paths: Paths, top: Descriptor) -> ImageDetails:
    """Return the details of an image; raise UsageError if a part is missing."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    own = find_own_node(top, oci)
    config_digest = own.blobs[0].digest
    config = oci.read_json(config_digest)
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return ImageDetails(
        names=sorted(ref for ref, target in oci.read_refs().items() if target.digest == top.digest),
        keys=sorted(_find_keys(top.digest, StepCache(paths).read_records())),
        digest=top.digest,
        media_type=top.media_type,
        manifest=own.descriptor.digest,
        config_digest=config_digest,
        layers=_describe_layers(own.blobs[1:], diff_ids if isinstance(diff_ids, list) else []),
        size=measure_size(top, oci),
        platforms=_list_platforms(top, oci, config),
        config=config,
        referrers=[_describe_referrer(each, oci) for each in find_referrers({top.digest, own.descriptor.digest}, oci)],
    )


def find_own_node(top: Descriptor, oci: Layout) -> graph.Node:
    """Return the manifest for the host's platform, else the first available one."""
    node = reachable.read_node(top, oci)
    if node and node.children:
        children = [child for child in node.children if oci.has_blob(child.digest)]
        with contextlib.suppress(RegistryError):
            children.insert(0, graph.find_own_child(node))
        return find_own_node(children[0], oci) if children else _raise_incomplete(top)
    return node if node and node.blobs and oci.has_blob(node.blobs[0].digest) else _raise_incomplete(top)


def find_referrers(subjects: set[str], oci: Layout) -> list[Descriptor]:
    """Return the referrers of any of these manifests."""
    return [target for target in oci.list_unnamed() if reachable.find_subject(target, oci) in subjects]


def _find_keys(digest: str, records: Mapping[str, object]) -> list[str]:
    return [key for key, baked in records.items() if isinstance(baked, BakedImage) and baked.digest == digest]


def _describe_layers(blobs: Sequence[Descriptor], diff_ids: Sequence[Any]) -> list[dict[str, Any]]:
    known = [*diff_ids, *[""] * len(blobs)]  # an image with an incomplete config is still shown
    return [blob.to_json(diffId=diff_id) for blob, diff_id in zip(blobs, known, strict=False)]


def _list_platforms(top: Descriptor, oci: Layout, config: Mapping[str, Any]) -> list[str]:
    node = reachable.read_node(top, oci)
    known = node.platforms if node and node.children else ((config.get("os"), config.get("architecture")),)
    return ["/".join(str(part) for part in each if part) for each in known]


def _describe_referrer(target: Descriptor, oci: Layout) -> dict[str, Any]:
    return target.to_json(artifactType=oci.read_json(target.digest).get("artifactType", ""))


def _raise_incomplete(top: Descriptor) -> graph.Node:
    raise UsageError(
        f"incomplete image in the store: {top.digest}", remedy="run devbox image verify, then devbox up or image pull"
    )
