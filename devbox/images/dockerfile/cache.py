"""buildah's cache of earlier builds: usage records, and images that no Dockerfile uses.

buildah tracks neither age nor users of its cache. Each build therefore records the images that it used, replacing its
Dockerfile's record. The storage is read in the format of containers/storage, and changed only by buildah.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from devbox.errors import BakeFailed
from devbox.host import files
from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.images.store import documents
from devbox.model import ids, jsontext
from devbox.model.image import FromDockerfile

_USED = re.compile(r"^(?:\[\d+/\d+\] )?(?:--> Using cache |Copying config sha256:)([0-9a-f]{64})$", re.MULTILINE)


class UnwantedImages(NamedTuple):
    """Cached images that no Dockerfile uses, children before their parents."""

    images: tuple[str, ...] = ()
    size: int = 0


class _BuildahStorage(NamedTuple):
    images: dict[str, str]  # id → its topmost layer
    parents: dict[str, str]  # layer → the layer below, "" for none


def compute_name(step: FromDockerfile) -> str:
    """Return the cache name of a project's Dockerfile, independent of its content."""
    return ids.compute_key([step.root, step.path, step.context, step.target, step.args]).removeprefix("sha256:")[:16]


def list_images(storage: str) -> set[str]:
    """Return the ids of buildah's images."""
    return set(_read_storage(storage).images)


def find_with_parents(storage: str, image: str) -> set[str]:
    """Return an image of buildah's with all its parents; an unchanged rebuild appears in no other list."""
    found = _read_storage(storage)
    chain = _list_chain(found.images.get(image, ""), found)
    return {each for each, layer in found.images.items() if layer in chain}


def parse_used(output: str) -> set[str]:
    """Return the ids of cached and base images from a build's output. Pure."""
    return set(_USED.findall(output))


def record_uses(storage: str, name: str, used_images: Iterable[str], *, all_of_it: bool = True) -> None:
    """Record the images of a Dockerfile's last build; a failed one keeps the previous record's images too."""
    before = () if all_of_it else _read_uses(storage, name)
    os.makedirs(f"{storage}/uses", exist_ok=True)
    files.write_atomic(f"{storage}/uses/{name}.json", json.dumps(sorted({*used_images, *before})))


def find_unwanted(paths: Paths, names: Collection[str]) -> UnwantedImages | None:
    """Return the images that these Dockerfiles do not use; None if the cache has no others."""
    storage = _read_storage(paths.buildah)
    used = {image for name in names for image in _read_uses(paths.buildah, name)} & storage.images.keys()
    if not used:
        return None
    needed = {layer for image in used for layer in _list_chain(storage.images[image], storage)}
    unused = sorted(storage.images.keys() - used, key=lambda image: -len(_list_chain(storage.images[image], storage)))
    stood_on = {layer for image in unused for layer in _list_chain(storage.images[image], storage)}
    layers = {layer for layer in stood_on if layer not in needed}
    size = sum(measure_tree(f"{paths.buildah}/root/overlay/{layer}") for layer in layers)
    size += sum(measure_tree(f"{paths.buildah}/root/overlay-images/{image}") for image in unused)
    return UnwantedImages(tuple(unused), size)


def find_parents(paths: Paths, unused: Collection[str]) -> tuple[str, ...]:
    """Return the parents of images to remove. Without a name, they would be removed with their last child."""
    storage = _read_storage(paths.buildah)
    stood_on = {layer for image in unused for layer in _list_chain(storage.images.get(image, ""), storage)}
    return tuple(image for image, layer in storage.images.items() if image not in unused and layer in stood_on)


def forget_uses(paths: Paths, names: Collection[str]) -> None:
    """Remove the usage records of all other Dockerfiles."""
    for name in _list_directory(f"{paths.buildah}/uses"):
        if name.removesuffix(".json") not in names:
            os.unlink(f"{paths.buildah}/uses/{name}")


def _read_uses(storage: str, name: str) -> set[str]:
    """Return the images of the last build; empty if the record is damaged: the next build rewrites it."""
    try:
        found = jsontext.loads(files.read_text(f"{storage}/uses/{name}.json") or "[]")
    except ValueError:
        return set()
    return {each for each in found if isinstance(each, str)} if isinstance(found, list) else set()


def _read_storage(storage: str) -> _BuildahStorage:
    found = {
        str(each["id"]): str(each.get("layer", "")) for each in read_list(f"{storage}/root/overlay-images/images.json")
    }
    layers = read_list(f"{storage}/root/overlay-layers/layers.json")
    return _BuildahStorage(found, {str(each["id"]): str(each.get("parent", "")) for each in layers})


def _list_chain(layer: str, storage: _BuildahStorage) -> list[str]:
    """Return a layer and all layers below."""
    found = []
    while layer and layer not in found:
        found.append(layer)
        layer = storage.parents.get(layer, "")
    return found


def parse_image_document(raw: bytes) -> dict[str, Any]:
    """Parse an image document of buildah's; raise BakeFailed if it is invalid."""
    try:
        return documents.parse(raw)
    except ValueError as error:
        sentence = f"invalid image config from buildah: {error}"
        raise BakeFailed(sentence, remedy="check the settings of the Dockerfile") from None


def read_list(path: str) -> list[dict[str, Any]]:
    """Read a list of containers/storage; raise BakeFailed if it is damaged, as buildah would fail too."""
    try:
        found = jsontext.loads(files.read_text(path) or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, dict) and "id" in each for each in found):
        cached = path.partition("/root/")[0]
        raise BakeFailed(f"{path} is damaged", remedy=f"remove the Dockerfile cache: rm -r {shlex.quote(cached)}")
    return found


def _list_directory(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []
