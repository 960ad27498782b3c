"""What `docker save` of old writes: configs and layers without manifests. They get what a bake would give them."""

from __future__ import annotations

from typing import Any

from devbox.images import documents, layout, manifest, packing
from devbox.images.intake.contents import Contents, Staged
from devbox.images.layout import Descriptor
from devbox.model import ids
from devbox.model.image import Layer

_TYPES = {"": layout.LAYER, "gzip": f"{layout.LAYER}+gzip", "zstd": f"{layout.LAYER}+zstd"}


def entries(raw: bytes, contents: Contents) -> list[dict[str, Any]]:
    """Entries of an index, one for each name of an image, from the bytes of `manifest.json`. ValueError for others."""
    listed = documents.tables(documents.parse(b'{"images":' + raw + b"}"), "images")
    return [entry for plain in listed for entry in _named(_index(plain, contents), documents.texts(plain, "RepoTags"))]


def _named(index: Descriptor, names: list[str]) -> list[dict[str, Any]]:
    return [index.plain(annotations={layout.REF_NAME: name}) for name in names or [""]]


def _index(plain: dict[str, Any], contents: Contents) -> Descriptor:
    config = _file(documents.text(plain, "Config"), contents)
    said = documents.parse(config.raw())
    diff_ids = documents.texts(documents.table(said, "rootfs"), "diff_ids")
    names = documents.texts(plain, "Layers")
    if len(names) != len(diff_ids):
        raise ValueError(f"it has {len(names)} layers for a config of {len(diff_ids)}")
    layers = [_layer(name, diff_id, contents) for name, diff_id in zip(names, diff_ids, strict=True)]
    described = Descriptor(layout.CONFIG, config.digest, config.size)
    platform = {key: value for key in ("architecture", "os", "variant") if (value := documents.text(said, key))}
    of_platform = _add(layout.MANIFEST, manifest.image_manifest(described, layers), contents)
    return _add(layout.INDEX, manifest.image_index(of_platform, platform=platform), contents)


def _layer(name: str, diff_id: str, contents: Contents) -> Layer:
    """A layer as it is; whether a packed one unpacks to its diff id, whoever unpacks it looks."""
    staged = _file(name, contents)
    with open(staged.path, "rb") as source:
        packed = packing.kind(source.read(packing.MAGIC))
    if packed not in _TYPES:
        raise ValueError(f"its layer {name!r:.80} is packed by {packed}, which layers may not be")
    if not packed and staged.digest != diff_id:
        raise ValueError(f"its layer {name!r:.80} has the digest {staged.digest}, and its config says {diff_id:.80}")
    return Layer(digest=staged.digest, diff_id=diff_id, size=staged.size, media_type=_TYPES[packed])


def _file(name: str, contents: Contents) -> Staged:
    staged = contents.file(name)
    if staged is None:
        raise ValueError(f"it lacks {name!r:.80}")
    contents.put(staged)
    return staged


def _add(media_type: str, value: Any, contents: Contents) -> Descriptor:
    staged = contents.add(ids.canonical_json(value))
    return Descriptor(media_type, staged.digest, staged.size)
