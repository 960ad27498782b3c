"""Jobs of a build worker: one JSON document per line on stdin."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from devbox.model.frozen import dataclass
from devbox.model.image import BakedImage, BakeStep, Bootstrap, Layer

LAYER_FILE = "layer.tar"
# For a Dockerfile: the built image's config as buildah writes it, and the directory of new layers.
CONFIG_FILE = "config.json"
NEW_LAYERS = "layers"
WORK = "workspace"  # in a build's work directory: the directory of its container
OUTPUT = "output"  # in the layer of a build's output: the directory with all of it


class DockerfileSource(NamedTuple):
    """Immutable input of a Dockerfile build: paths of the file, the build context, and its ignore file."""

    dockerfile: str
    context: str
    ignore: str


@dataclass(frozen=True, kw_only=True)
class StepJob:
    """One step; leaves `layer.tar` and the unpacked `snapshot/` in `place`, an empty directory of the store.

    `lowers` are the layers below, topmost first; `base` is the bootstrap of the chain; `parent` is the pid whose death
    ends the job; all output of the step's programs is written to `log`.
    """

    op: ClassVar[str] = "step"
    home: str
    runtime: str
    parent: int
    place: str
    log: str
    step: BakeStep
    lowers: tuple[str, ...]
    base: Bootstrap | None
    env: dict[str, str]  # of the registry image below
    terminal: int = -1  # descriptor of the terminal, for a shell in a failed step
    project: str = ""  # owner of the caches that its commands use
    output: str = ""  # the unpacked output of `[build]`, if the step uses it


@dataclass(frozen=True, kw_only=True)
class BuildJob:
    """A Dockerfile build; leaves its image's config in `place`, with the layers that are missing in the store.

    The store has layers under their diff ids in `blobs`, and those with the diff ids `known`.

    `images` are its base images by name, in buildah's notation; `storage` is buildah's own, exclusive to the caller;
    paths are absolute.
    """

    op: ClassVar[str] = "build"
    home: str
    runtime: str
    parent: int
    place: str
    log: str
    storage: str
    blobs: str
    known: tuple[str, ...]
    dockerfile: str
    context: str
    ignore: str
    target: str
    args: dict[str, str]
    images: dict[str, str]
    use: str  # the Dockerfile's name in the cache
    terminal: int = -1  # as in StepJob


@dataclass(frozen=True, kw_only=True)
class PruneJob:
    """Removal of images from buildah's storage, in this order, except those in `kept`."""

    op: ClassVar[str] = "prune"
    home: str
    runtime: str
    parent: int
    place: str
    storage: str
    images: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class OutputJob:
    """Collection of `[build]` output from `place`/workspace; leaves `layer.tar` and `snapshot/` in `place`."""

    op: ClassVar[str] = "output"
    home: str
    runtime: str
    parent: int
    place: str
    output: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ExtractJob:
    """A copy of files and directories from the layers `lowers` (topmost first) to the directory `target`, by number.

    `place` is an empty work directory of the store.
    """

    op: ClassVar[str] = "extract"
    home: str
    runtime: str
    parent: int
    place: str
    target: str
    lowers: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RemoveJob:
    """Removal of directories whose files belong to the store's ids."""

    op: ClassVar[str] = "remove"
    home: str
    runtime: str
    parent: int
    paths: tuple[str, ...]


Job = StepJob | BuildJob | PruneJob | OutputJob | ExtractJob | RemoveJob


class BaseImage(NamedTuple):
    """The image that the step's `base` refers to: its layers, and the image they started with, if imported whole."""

    layers: tuple[Layer, ...]
    image: BakedImage | None
