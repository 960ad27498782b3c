"""The images of an archive, parsed and verified completely before anything enters the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from devbox.errors import BakeFailed, RegistryError, UsageError
from devbox.images.archive import exporter
from devbox.images.archive.contents import REWRITE_REMEDY, Contents, StagedFile, get_blob_name, read_document
from devbox.images.layers import compression
from devbox.images.registry import graph, reference
from devbox.images.store import documents, layout, manifest
from devbox.images.store.layout import Descriptor
from devbox.model import ids
from devbox.model.image import Layer

_TYPES = {"": layout.LAYER, "gzip": f"{layout.LAYER}+gzip", "zstd": f"{layout.LAYER}+zstd"}


def parse_entries(raw: bytes, contents: Contents) -> list[dict[str, Any]]:
    """Return an index entry per image name from the bytes of `manifest.json`; raise ValueError if invalid."""
    listed = documents.read_tables(documents.parse(b'{"images":' + raw + b"}"), "images")
    return [
        entry
        for plain in listed
        for entry in _build_named_entries(_build_index(plain, contents), documents.read_texts(plain, "RepoTags"))
    ]


def _build_named_entries(index: Descriptor, names: list[str]) -> list[dict[str, Any]]:
    return [index.to_json(annotations={layout.REF_NAME: name}) for name in names or [""]]


def _build_index(plain: dict[str, Any], contents: Contents) -> Descriptor:
    config = _require_file(documents.read_text(plain, "Config"), contents)
    config_document = documents.parse(config.read_bytes())
    diff_ids = documents.read_texts(documents.read_table(config_document, "rootfs"), "diff_ids")
    names = documents.read_texts(plain, "Layers")
    if len(names) != len(diff_ids):
        raise ValueError(f"expected {len(diff_ids)} layers as in the config, got {len(names)}")
    layers = [_build_layer(name, diff_id, contents) for name, diff_id in zip(names, diff_ids, strict=True)]
    described = Descriptor(layout.CONFIG, config.digest, config.size)
    platform = {
        key: value for key in ("architecture", "os", "variant") if (value := documents.read_text(config_document, key))
    }
    of_platform = _add_json(layout.MANIFEST, manifest.build_image_manifest(described, layers), contents)
    return _add_json(layout.INDEX, manifest.build_image_index(of_platform, platform=platform), contents)


def _build_layer(name: str, diff_id: str, contents: Contents) -> Layer:
    """Describe a layer as stored; whether a compressed one matches its diff id is verified when it is unpacked."""
    staged = _require_file(name, contents)
    with open(staged.path, "rb") as source:
        packed = compression.detect_kind(source.read(compression.MAGIC))
    if packed not in _TYPES:
        raise ValueError(f"unsupported compression of layer {name!r:.80}: {packed}")
    if not packed and staged.digest != diff_id:
        raise ValueError(f"digest mismatch of layer {name!r:.80}: config has {diff_id:.80}, got {staged.digest}")
    return Layer(digest=staged.digest, diff_id=diff_id, size=staged.size, media_type=_TYPES[packed])


def _require_file(name: str, contents: Contents) -> StagedFile:
    staged = contents.find_file(name)
    if staged is None:
        raise ValueError(f"missing {name!r:.80}")
    contents.add_file(staged)
    return staged


def _add_json(media_type: str, value: Any, contents: Contents) -> Descriptor:
    staged = contents.add_document(ids.encode_canonical_json(value))
    return Descriptor(media_type, staged.digest, staged.size)


_NAMES = (exporter.FULL_NAME, layout.REF_NAME)
_DEEPEST = 3  # levels of nested indexes; allowed, but not seen in practice
_MOST_MANIFESTS = 500


class ArchivedImage(NamedTuple):
    """An image of an archive: its index or manifest, full names, and the blobs that exist.

    `absent`: platforms of its index whose layers are missing. `subject`: the referenced image, for signatures.
    """

    top: Descriptor
    names: tuple[str, ...]
    blobs: dict[str, StagedFile]
    absent: tuple[str, ...]
    subject: str


def read_images(contents: Contents) -> list[ArchivedImage]:
    """Return all images in archive order; raise BakeFailed if one is invalid."""
    try:
        found = [_read_image(entry, contents) for entry in _list_entries(contents)]
    except (ValueError, RegistryError) as error:
        raise BakeFailed(f"invalid image archive: {error}", remedy=REWRITE_REMEDY) from None
    if not found:
        raise BakeFailed("no image in the archive", remedy=REWRITE_REMEDY)
    return found


def require_single(found: list[ArchivedImage]) -> ArchivedImage:
    """Return the only image, ignoring its referrers; raise UsageError if there are several."""
    tops = [image for image in found if not image.subject]
    if len(tops) != 1:
        names = ", ".join(name for image in tops for name in image.names)
        raise UsageError(
            f"expected an archive with one image, got {len(tops)}{f': {names}' if names else ''}",
            remedy="write an archive of a single image: devbox image export IMAGE FILE",
        )
    return tops[0]


def _list_entries(contents: Contents) -> list[dict[str, object]]:
    """Return the entries of the archive's index; for archives of old `docker save` versions, generated ones."""
    if (raw := read_document(contents, "index.json")) is not None:
        return documents.read_tables(documents.parse(raw), "manifests")
    if (raw := read_document(contents, "manifest.json")) is not None:
        return parse_entries(raw, contents)
    raise UsageError(
        "not an image archive: missing index.json and manifest.json",
        remedy='create one with devbox image export, docker save or skopeo copy; root file system: tarball = "FILE"',
    )


def _read_image(entry: dict[str, object], contents: Contents) -> ArchivedImage:
    top, blobs, absent = layout.parse_descriptor(entry), dict[str, StagedFile](), list[str]()
    root = _read_node(top, contents, blobs)
    if root is None:
        raise ValueError(f"missing {top.digest}, which the index lists")
    nodes = dict(_walk_nodes(root, contents, blobs, "", _DEEPEST))
    for node, platform in nodes.items():
        if node.blobs and not _collect_blobs(node, contents, blobs):
            absent.append(platform)
    _check_use(root, nodes, blobs)
    gone = [platform for child, platform in _list_children(root) if child.digest not in blobs]
    return ArchivedImage(top, _read_names(entry), blobs, tuple(dict.fromkeys([*gone, *absent])), root.subject)


def _walk_nodes(
    node: graph.Node, contents: Contents, blobs: dict[str, StagedFile], platform: str, depth: int
) -> Iterator[tuple[graph.Node, str]]:
    """Yield the node and its existing descendants, each with its platform."""
    yield node, platform
    for child, of_child in _list_children(node):
        if depth == 0 or len(blobs) > _MOST_MANIFESTS:
            raise ValueError(f"too many entries in {node.descriptor.digest}")
        if child.digest not in blobs and (found := _read_node(child, contents, blobs)):
            yield from _walk_nodes(found, contents, blobs, of_child, depth - 1)


def _list_children(node: graph.Node) -> list[tuple[Descriptor, str]]:
    names = ["/".join(part for part in each if part) for each in node.platforms]
    return list(zip(node.children, names, strict=True))


def _read_node(descriptor: Descriptor, contents: Contents, blobs: dict[str, StagedFile]) -> graph.Node | None:
    staged = _find_blob(descriptor, contents)
    if staged is None:
        return None
    blobs[descriptor.digest] = staged
    return graph.parse_node(descriptor, staged.read_bytes())


def _collect_blobs(node: graph.Node, contents: Contents, blobs: dict[str, StagedFile]) -> bool:
    """Add a manifest's existing blobs; return whether it is complete."""
    found = {blob.digest: _find_blob(blob, contents) for blob in node.blobs}
    blobs |= {digest: staged for digest, staged in found.items() if staged}
    return all(found.values())


def _find_blob(descriptor: Descriptor, contents: Contents) -> StagedFile | None:
    """Return a verified blob; None if the archive does not contain it."""
    staged = contents.find_file(get_blob_name(descriptor.digest))
    if staged and (staged.digest, staged.size) != (descriptor.digest, descriptor.size):
        raise ValueError(
            f"mismatch of blob {descriptor.digest}: expected {descriptor.size:,} bytes, "
            f"got {staged.size:,} bytes with the digest {staged.digest}"
        )
    return staged


def _check_use(root: graph.Node, nodes: dict[graph.Node, str], blobs: dict[str, StagedFile]) -> None:
    """Require a complete image for the host's platform, or for any platform if the host's is not included."""
    by_digest = {node.descriptor.digest: node for node in nodes}
    whole = [node for node in nodes if node.blobs and all(blob.digest in blobs for blob in node.blobs)]
    own = root
    while own.children:
        try:
            child = graph.find_own_child(own)
        except RegistryError:  # the image is for other platforms
            own = whole[0] if whole else root
            break
        if child.digest not in by_digest:
            raise ValueError(f"missing {child.digest}, the manifest for the host's platform")
        own = by_digest[child.digest]
    if own not in whole:
        missing = next((blob.digest for blob in own.blobs if blob.digest not in blobs), "every layer")
        raise ValueError(f"missing {missing}")


def _read_names(entry: dict[str, object]) -> tuple[str, ...]:
    """Return the image's full names; text that is not a full reference, such as a bare tag, is ignored."""
    annotations = documents.read_table(entry, "annotations")
    listed = [documents.read_text(annotations, name) for name in _NAMES]
    found = []
    for text in listed:
        if ":" in text or "/" in text:
            try:
                found.append(str(reference.parse(text)))
            except UsageError:
                continue
    return tuple(dict.fromkeys(found))
