"""The tags of old, `sha256-….sig` and `.att`: one manifest with a layer for each signature, which everybody rewrites.

Who adds one keeps the others, also those that were put there meanwhile. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from devbox.images import documents, layout


def layers(manifests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers of several manifests, each once. Raises ValueError for what is no manifest."""
    found: list[dict[str, Any]] = []
    for plain in manifests:
        found += [each for each in documents.tables(plain, "layers") if each not in found]
    return found


def config(listed: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The config of a manifest with these layers, as cosign writes it."""
    diff_ids = [documents.digest(layer) for layer in listed]
    return {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}


def manifest(listed: list[dict[str, Any]], of: layout.Descriptor) -> dict[str, Any]:
    """The manifest of layers and their config."""
    return {"schemaVersion": 2, "mediaType": layout.MANIFEST, "config": of.plain(), "layers": listed}
