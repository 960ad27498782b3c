"""The images of an archive, understood and checked as a whole before anything of them enters the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from devbox.errors import BakeFailed, RegistryError, UsageError
from devbox.images import archive, documents, layout
from devbox.images.intake import dockerarchive
from devbox.images.intake.contents import ANEW, Contents, Staged, blob_name, document
from devbox.images.layout import Descriptor
from devbox.images.registry import graph, reference

_NAMES = (archive.FULL_NAME, layout.REF_NAME)
_DEEPEST = 3  # an index of indexes is allowed, and not seen
_MOST_MANIFESTS = 500


class Found(NamedTuple):
    """An image of an archive: its index or manifest, its names in full, and the blobs of it that are there.

    `absent`: platforms of its index whose layers the archive lacks. `subject`: what it refers to, as signatures do.
    """

    top: Descriptor
    names: tuple[str, ...]
    blobs: dict[str, Staged]
    absent: tuple[str, ...]
    subject: str


def images(contents: Contents) -> list[Found]:
    """All images, in the order of the archive. Raises BakeFailed where one of them is not what it should be."""
    try:
        found = [_image(entry, contents) for entry in _listed(contents)]
    except (ValueError, RegistryError) as error:
        raise BakeFailed(f"the archive is no image: {error}", remedy=ANEW) from None
    if not found:
        raise BakeFailed("the archive holds no image", remedy=ANEW)
    return found


def only(found: list[Found]) -> Found:
    """The one image there is, besides what refers to it. Raises UsageError where there are several."""
    tops = [image for image in found if not image.subject]
    if len(tops) != 1:
        names = ", ".join(name for image in tops for name in image.names)
        raise UsageError(
            f"the archive holds {len(tops)} images where one is wanted{f': {names}' if names else ''}",
            remedy="write an archive of the one image: devbox image export IMAGE FILE",
        )
    return tops[0]


def _listed(contents: Contents) -> list[dict[str, object]]:
    """The entries of the archive's index; of what `docker save` of old wrote, made up."""
    if (raw := document(contents, "index.json")) is not None:
        return documents.tables(documents.parse(raw), "manifests")
    if (raw := document(contents, "manifest.json")) is not None:
        return dockerarchive.entries(raw, contents)
    raise UsageError(
        "there is neither index.json nor manifest.json in it: it is no archive of images",
        remedy='write one with devbox image export, docker save or skopeo copy; a root file system: tarball = "FILE"',
    )


def _image(entry: dict[str, object], contents: Contents) -> Found:
    top, blobs, absent = layout.descriptor(entry), dict[str, Staged](), list[str]()
    root = _node(top, contents, blobs)
    if root is None:
        raise ValueError(f"it lacks {top.digest}, which its index lists")
    nodes = dict(_below(root, contents, blobs, "", _DEEPEST))
    for node, platform in nodes.items():
        if node.blobs and not _take_blobs(node, contents, blobs):
            absent.append(platform)
    _check_use(root, nodes, blobs)
    gone = [platform for child, platform in _children(root) if child.digest not in blobs]
    return Found(top, _names(entry), blobs, tuple(dict.fromkeys([*gone, *absent])), root.subject)


def _below(
    node: graph.Node, contents: Contents, blobs: dict[str, Staged], platform: str, depth: int
) -> Iterator[tuple[graph.Node, str]]:
    """The node and all below it that are there, each with its platform."""
    yield node, platform
    for child, of_child in _children(node):
        if depth == 0 or len(blobs) > _MOST_MANIFESTS:
            raise ValueError(f"{node.descriptor.digest} lists more than an image has")
        if child.digest not in blobs and (found := _node(child, contents, blobs)):
            yield from _below(found, contents, blobs, of_child, depth - 1)


def _children(node: graph.Node) -> list[tuple[Descriptor, str]]:
    names = ["/".join(part for part in each if part) for each in node.platforms]
    return list(zip(node.children, names, strict=True))


def _node(wanted: Descriptor, contents: Contents, blobs: dict[str, Staged]) -> graph.Node | None:
    staged = _blob(wanted, contents)
    if staged is None:
        return None
    blobs[wanted.digest] = staged
    return graph.understand(wanted, staged.raw())


def _take_blobs(node: graph.Node, contents: Contents, blobs: dict[str, Staged]) -> bool:
    """Have the blobs of a manifest that are there; whether all are."""
    found = {blob.digest: _blob(blob, contents) for blob in node.blobs}
    blobs |= {digest: staged for digest, staged in found.items() if staged}
    return all(found.values())


def _blob(wanted: Descriptor, contents: Contents) -> Staged | None:
    """A blob, which is what its name says; None where the archive has none."""
    staged = contents.file(blob_name(wanted.digest))
    if staged and (staged.digest, staged.size) != (wanted.digest, wanted.size):
        raise ValueError(
            f"its blob {wanted.digest} has {staged.size:,} bytes of the digest {staged.digest}, "
            f"and {wanted.size:,} are announced"
        )
    return staged


def _check_use(root: graph.Node, nodes: dict[graph.Node, str], blobs: dict[str, Staged]) -> None:
    """It must be whole for this machine; for some machine, where it is not made for this one."""
    by_digest = {node.descriptor.digest: node for node in nodes}
    whole = [node for node in nodes if node.blobs and all(blob.digest in blobs for blob in node.blobs)]
    own = root
    while own.children:
        try:
            child = graph.own_child(own)
        except RegistryError:  # it is for other machines
            own = whole[0] if whole else root
            break
        if child.digest not in by_digest:
            raise ValueError(f"it lacks {child.digest}, the manifest for this machine")
        own = by_digest[child.digest]
    if own not in whole:
        lacking = next((blob.digest for blob in own.blobs if blob.digest not in blobs), "every layer")
        raise ValueError(f"it lacks {lacking}")


def _names(entry: dict[str, object]) -> tuple[str, ...]:
    """What the image is called, in full; what is no reference, as a mere tag, says too little."""
    annotations = documents.table(entry, "annotations")
    listed = [documents.text(annotations, name) for name in _NAMES]
    found = []
    for text in listed:
        if ":" in text or "/" in text:
            try:
                found.append(str(reference.parse(text)))
            except UsageError:
                continue
    return tuple(dict.fromkeys(found))
