"""Structure of an image by its manifests: a tree of indexes and manifests with blobs. Pure."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from devbox.errors import RegistryError
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor
from devbox.images.store.manifest import get_architecture

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (layout.INDEX, DOCKER_LIST)
MANIFESTS = (layout.MANIFEST, DOCKER_MANIFEST)
# Compatible variants per architecture, best first; only 32-bit ARM needs a choice.
_VARIANTS = {"arm": ("v7", "v6", "v5", ""), "arm64": ("v8", "")}
_LEGACY_SUFFIXES = ("sig", "att", "sbom")


class Node(NamedTuple):
    """A parsed manifest or index. An index has `children`, a manifest `blobs`: its config first, then layers."""

    descriptor: Descriptor
    children: tuple[Descriptor, ...] = ()
    platforms: tuple[tuple[str, str, str], ...] = ()  # of each child: os, architecture, variant
    blobs: tuple[Descriptor, ...] = ()
    subject: str = ""


def parse_node(descriptor: Descriptor, raw: bytes) -> Node:
    """Parse a manifest or index; raise RegistryError if it is invalid."""
    try:
        return _parse_node(descriptor, raw)
    except ValueError as error:
        raise _build_error(descriptor, str(error)) from None


def derive_descriptor(digest: str, raw: bytes) -> Descriptor:
    """Derive the descriptor of a manifest or index from its own content."""
    with contextlib.suppress(ValueError):
        plain = documents.parse(raw)
        kind = plain.get("mediaType") or (layout.INDEX if "manifests" in plain else layout.MANIFEST)
        return Descriptor(str(kind), digest, len(raw))
    return Descriptor("", digest, len(raw))


def is_manifest(media_type: str) -> bool:
    """Return whether a descriptor of this type refers to more descriptors."""
    return media_type in (*INDEXES, *MANIFESTS)


def list_legacy_tags(digest: str) -> list[str]:
    """Return the tags of signatures and attestations from before the referrers API."""
    return [f"{get_fallback_tag(digest)}.{suffix}" for suffix in _LEGACY_SUFFIXES]


def find_own_child(node: Node) -> Descriptor:
    """Return an index's child for the host's platform; raise RegistryError if there is none."""
    architecture = get_architecture()
    for variant in _VARIANTS.get(architecture, ("",)):
        for child, (system, arch, of_arch) in zip(node.children, node.platforms, strict=True):
            if (system, arch) == ("linux", architecture) and of_arch in (variant, ""):
                return child
    have = sorted({f"{system}/{arch}" for system, arch, _ in node.platforms if arch not in ("", "unknown")})
    raise RegistryError(
        f"the image is not available for linux/{architecture}, only for {', '.join(have) or 'no platform'}",
        remedy="use another tag or image",
    )


def _parse_node(descriptor: Descriptor, raw: bytes) -> Node:
    if descriptor.media_type not in (*INDEXES, *MANIFESTS):
        raise ValueError(f"unsupported type: {descriptor.media_type or 'none'}")
    if len(raw) != descriptor.size and len(raw) <= documents.LIMIT:
        raise ValueError(f"expected {descriptor.size:,} bytes, got {len(raw):,}")
    plain = documents.parse(raw)
    own = documents.read_text(plain, "mediaType") or descriptor.media_type
    if own != descriptor.media_type:
        raise ValueError(f"expected the type {descriptor.media_type}, got {own}")
    if "manifests" in plain and ("layers" in plain or "config" in plain):
        raise ValueError("both a manifest and an index")
    if own in INDEXES:
        listed = documents.read_tables(plain, "manifests")
        if not listed:
            raise ValueError("index without manifests")
        platforms = tuple(_parse_platform(documents.read_table(each, "platform")) for each in listed)
        return Node(descriptor, tuple(map(layout.parse_descriptor, listed)), platforms)
    config = layout.parse_descriptor(documents.read_table(plain, "config"))
    if config.size > documents.LIMIT:
        raise ValueError(f"config of {config.size:,} bytes is larger than {documents.LIMIT >> 20} MiB")
    layers = tuple(map(layout.parse_descriptor, documents.read_tables(plain, "layers")))
    subject = documents.read_table(plain, "subject")
    return Node(descriptor, blobs=(config, *layers), subject=documents.read_digest(subject) if subject else "")


def _parse_platform(plain: dict[str, Any]) -> tuple[str, str, str]:
    return (
        documents.read_text(plain, "os"),
        documents.read_text(plain, "architecture"),
        documents.read_text(plain, "variant"),
    )


def _build_error(descriptor: Descriptor, why: str) -> RegistryError:
    return RegistryError(
        f"invalid image manifest {descriptor.digest}: {why}", remedy="use another tag, or report it to the publisher"
    )


def get_fallback_tag(digest: str) -> str:
    """Return the fallback tag of registries without the referrers API."""
    return digest.replace(":", "-")
