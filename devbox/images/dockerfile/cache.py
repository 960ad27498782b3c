"""What buildah keeps of earlier builds: which of its images a Dockerfile's last build used, and which nobody wants.

buildah itself knows neither ages nor users of what it caches. So each build writes down what it used; a later one of
the same Dockerfile replaces that. Its storage is read as containers/storage writes it, and changed by buildah alone.
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
    """What of the cache no Dockerfile wants. Of images that build on each other, the upper comes first."""

    images: tuple[str, ...] = ()
    size: int = 0


class _BuildahStorage(NamedTuple):
    images: dict[str, str]  # id → its topmost layer
    parents: dict[str, str]  # layer → the layer below, "" for none


def compute_name(step: FromDockerfile) -> str:
    """What a Dockerfile of a project is called here, whatever is in it just now."""
    return ids.compute_key([step.root, step.path, step.context, step.target, step.args]).removeprefix("sha256:")[:16]


def list_images(storage: str) -> set[str]:
    """The ids of buildah's images."""
    return set(_read_storage(storage).images)


def find_with_parents(storage: str, image: str) -> set[str]:
    """An image of buildah's and all that it stands on. What was built again as it was is in no other list."""
    found = _read_storage(storage)
    chain = _list_chain(found.images.get(image, ""), found)
    return {each for each, layer in found.images.items() if layer in chain}


def parse_used(output: str) -> set[str]:
    """The ids of images that a build took from the cache or begins with, by what it printed. Pure."""
    return set(_USED.findall(output))


def record_uses(storage: str, name: str, used_images: Iterable[str], *, all_of_it: bool = True) -> None:
    """Write down what the last build of a Dockerfile used; of one that failed, beside what the one before did."""
    before = () if all_of_it else _read_uses(storage, name)
    os.makedirs(f"{storage}/uses", exist_ok=True)
    files.write_atomic(f"{storage}/uses/{name}.json", json.dumps(sorted({*used_images, *before})))


def find_unwanted(paths: Paths, names: Collection[str]) -> UnwantedImages | None:
    """What these Dockerfiles do not want; None where that is all there is."""
    storage = _read_storage(paths.buildah)
    wanted = {image for name in names for image in _read_uses(paths.buildah, name)} & storage.images.keys()
    if not wanted:
        return None
    needed = {layer for image in wanted for layer in _list_chain(storage.images[image], storage)}
    away = sorted(storage.images.keys() - wanted, key=lambda image: -len(_list_chain(storage.images[image], storage)))
    stood_on = {layer for image in away for layer in _list_chain(storage.images[image], storage)}
    layers = {layer for layer in stood_on if layer not in needed}
    size = sum(measure_tree(f"{paths.buildah}/root/overlay/{layer}") for layer in layers)
    size += sum(measure_tree(f"{paths.buildah}/root/overlay-images/{image}") for image in away)
    return UnwantedImages(tuple(away), size)


def find_parents(paths: Paths, away: Collection[str]) -> tuple[str, ...]:
    """The images that others stand on which are to go. Nameless, they would go along with the last of those."""
    storage = _read_storage(paths.buildah)
    stood_on = {layer for image in away for layer in _list_chain(storage.images.get(image, ""), storage)}
    return tuple(image for image, layer in storage.images.items() if image not in away and layer in stood_on)


def forget_uses(paths: Paths, names: Collection[str]) -> None:
    """Drop what is written down of all Dockerfiles but these."""
    for name in _list_directory(f"{paths.buildah}/uses"):
        if name.removesuffix(".json") not in names:
            os.unlink(f"{paths.buildah}/uses/{name}")


def _read_uses(storage: str, name: str) -> set[str]:
    """What the last build used; nothing where that is damaged: the next build writes it down again."""
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
    """A layer and all below it."""
    found = []
    while layer and layer not in found:
        found.append(layer)
        layer = storage.parents.get(layer, "")
    return found


def parse_image_document(raw: bytes) -> dict[str, Any]:
    """Parse what buildah said or wrote about an image. BakeFailed if no store would take it."""
    try:
        return documents.parse(raw)
    except ValueError as error:
        sentence = f"what buildah says of the image can't be used: {error}"
        raise BakeFailed(sentence, remedy="look at what the Dockerfile sets") from None


def read_list(path: str) -> list[dict[str, Any]]:
    """A list of containers/storage. BakeFailed if it is none: buildah would fail in it as well."""
    try:
        found = jsontext.loads(files.read_text(path) or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, dict) and "id" in each for each in found):
        cached = path.partition("/root/")[0]
        raise BakeFailed(f"{path} is damaged", remedy=f"remove the cache of Dockerfiles: rm -r {shlex.quote(cached)}")
    return found


def _list_directory(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []
