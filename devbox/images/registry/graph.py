"""What an image consists of, read from its manifests: a tree of indexes and manifests over blobs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from devbox.errors import RegistryError
from devbox.images import layout
from devbox.images.layout import Descriptor
from devbox.images.manifest import architecture
from devbox.images.registry.reference import is_digest
from devbox.images.registry.repository import DOCKER_LIST, DOCKER_MANIFEST

INDEXES = (layout.INDEX, DOCKER_LIST)
MANIFESTS = (layout.MANIFEST, DOCKER_MANIFEST)
# Architectures that run what another one's images hold, best first: a variant is asked for only on 32-bit ARM.
_VARIANTS = {"arm": ("v7", "v6", "v5", ""), "arm64": ("v8", "")}


class Node(NamedTuple):
    """A manifest or index, understood. An index has `children`, a manifest `blobs`: its config first, then layers."""

    descriptor: Descriptor
    children: tuple[Descriptor, ...] = ()
    platforms: tuple[tuple[str, str, str], ...] = ()  # of each child: os, architecture, variant
    blobs: tuple[Descriptor, ...] = ()
    subject: str = ""


def understand(descriptor: Descriptor, raw: bytes) -> Node:
    """The node of a manifest's bytes. Raises RegistryError for what is none."""
    try:
        plain = json.loads(raw)
        if descriptor.media_type in INDEXES:
            listed = plain.get("manifests", [])
            platforms = tuple(_platform(each.get("platform") or {}) for each in listed)
            return Node(descriptor, tuple(map(_descriptor, listed)), platforms)
        if descriptor.media_type in MANIFESTS:
            blobs = (plain["config"], *plain.get("layers", ()))
            subject = (plain.get("subject") or {}).get("digest", "")
            return Node(descriptor, blobs=tuple(map(_descriptor, blobs)), subject=subject)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(descriptor, f"it can't be read: {error}") from None
    raise _broken(descriptor, f"its type is {descriptor.media_type or 'not told'}")


def is_manifest(media_type: str) -> bool:
    """Whether a descriptor of this type leads to more descriptors."""
    return media_type in (*INDEXES, *MANIFESTS)


def own_child(node: Node) -> Descriptor:
    """The child of an index that this machine runs. Raises RegistryError when there is none."""
    mine = architecture()
    for variant in _VARIANTS.get(mine, ("",)):
        for child, (system, arch, of_arch) in zip(node.children, node.platforms, strict=True):
            if (system, arch) == ("linux", mine) and of_arch in (variant, ""):
                return child
    have = sorted({f"{system}/{arch}" for system, arch, _ in node.platforms if arch not in ("", "unknown")})
    raise RegistryError(
        f"the image is not made for linux/{mine}, but for {', '.join(have) or 'no platform'}",
        remedy="take another tag or image",
    )


def _descriptor(plain: Mapping[str, Any]) -> Descriptor:
    digest, size = plain["digest"], plain["size"]
    if not (isinstance(digest, str) and is_digest(digest)):
        raise ValueError(f"{digest!r} is no sha256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"{size!r} is no size")
    return Descriptor(str(plain.get("mediaType", "")), digest, size)


def _platform(plain: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(plain.get("os", "")), str(plain.get("architecture", "")), str(plain.get("variant", ""))


def _broken(descriptor: Descriptor, why: str) -> RegistryError:
    return RegistryError(
        f"{descriptor.digest} is no manifest of an image: {why}", remedy="take another tag, or tell who pushed it"
    )
