"""What a worker is told of a bake: one JSON document, a line on stdin."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from devbox.model.frozen import dataclass
from devbox.model.image import BakeStep, Bootstrap

LAYER_FILE = "layer.tar"
# Of a Dockerfile: the built image's config as buildah has it, and the directory of the new layers.
CONFIG_FILE = "config.json"
NEW_LAYERS = "layers"
WORK = "workspace"  # in a build's place: what its container works in
OUTPUT = "output"  # in the layer of a build's output: the directory of all of it


class DockerfileSource(NamedTuple):
    """What a Dockerfile is built from, where nobody changes it: paths of the file, the context, and its ignore file."""

    dockerfile: str
    context: str
    ignore: str


@dataclass(frozen=True, kw_only=True)
class StepJob:
    """Make one step: leave `layer.tar` and the unpacked `snapshot/` in `place`, an empty directory of the store.

    `lowers` are the layers below, topmost first; `base` is what the chain was bootstrapped from; `parent` is the pid
    whose death ends the job; every line the step's programs print goes to `log`.
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
    env: dict[str, str]  # of the image of a registry below
    terminal: int = -1  # a descriptor of it, for a shell where the step fails
    project: str = ""  # whose caches its commands use
    output: str = ""  # the unpacked output of `[build]`, where the step is about it


@dataclass(frozen=True, kw_only=True)
class BuildJob:
    """Build a Dockerfile: leave its image's config in `place`, and the layers that the store lacks.

    It has those under their diff ids in `blobs`, and those with the diff ids `known`.

    `images` are those it begins with, by their names in it, in buildah's words; `storage` is buildah's own, of which
    the caller is the only user now; paths are absolute.
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
    use: str  # what the Dockerfile is called in the cache
    terminal: int = -1  # as of a StepJob


@dataclass(frozen=True, kw_only=True)
class PruneJob:
    """Remove images from buildah's storage, in this order, and leave those in `kept`."""

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
    """Take what `[build]` put out from `place`/workspace: leave `layer.tar` and `snapshot/` in `place`."""

    op: ClassVar[str] = "output"
    home: str
    runtime: str
    parent: int
    place: str
    output: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ExtractJob:
    """Copy files and directories out of the layers `lowers` (topmost first) into the directory `target`, by number.

    `place` is an empty directory of the store to work in.
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
    """Remove directories whose files belong to the store's ids."""

    op: ClassVar[str] = "remove"
    home: str
    runtime: str
    parent: int
    paths: tuple[str, ...]


Job = StepJob | BuildJob | PruneJob | OutputJob | ExtractJob | RemoveJob
