"""What an image is made from, and what a baked one is.

An `ImageSpec` is a chain of steps on top of a parent image of the same file. Every step becomes one OCI layer, keyed by
the key of everything below it plus its own inputs; an image's key is the key of its last step plus its config.

What a step installs is an input, too, once it is known: `pins` are the versions of packages that the lock gives it
(None where the lock has no entry yet), `prefer` those that are to be taken while they can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import ClassVar

from devbox.model import codec, ids
from devbox.model.container import Health
from devbox.model.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The first layer of a base: a minimal root file system of a distribution's suite."""

    op: ClassVar[str] = "bootstrap"
    distribution: str  # "debian" | "ubuntu"
    suite: str
    components: tuple[str, ...] = ("main",)
    packages: tuple[str, ...] = ()
    check_valid_until: bool = True
    pins: dict[str, str] | None = None
    prefer: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FromRegistry:
    """The first layers of an image: those of one of a registry. `pins` is its digest by its reference."""

    op: ClassVar[str] = "image"
    reference: str
    pins: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class FromDockerfile:
    """The first layers of an image: what a Dockerfile makes.

    `content` is the digest of the file and its context, "" until they were looked at, in the project at `root`, without
    its lock, which lies at `lock`. `FROM` of the name `base` is the image below, which has the config `base_config`.
    `begins`: the registries' images that it begins with, by their names in it; `pins`: their digests; `prefer`: digests
    of some of them, where the lock lacks others. `files`: the kind and first digits of everything in the context by its
    path, and of the Dockerfile itself at ""; empty where there are too many to name them in a reason.
    """

    op: ClassVar[str] = "dockerfile"
    path: str
    context: str = "."
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)
    base: str = ""
    base_config: ImageConfig | None = None
    content: str = ""
    root: str = ""
    lock: str = "devbox.lock.toml"
    begins: tuple[str, ...] = ()
    pins: dict[str, str] | None = None
    prefer: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FromTarball:
    """The first layers of an image: a root file system in a tarball, or an image in an archive.

    `content` is the digest of the file, "" until it was looked at, in the project at `root`.
    """

    op: ClassVar[str] = "tarball"
    path: str
    content: str = ""
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class Packages:
    """Packages of the distribution, by its own package manager, without recommendations."""

    op: ClassVar[str] = "packages"
    names: tuple[str, ...]
    purge: tuple[str, ...] = ()  # paths removed from the same layer (what the service does not need)
    pins: dict[str, str] | None = None
    prefer: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Commands run as root in a container over the layers below. A string goes to `/bin/sh -c`."""

    op: ClassVar[str] = "run"
    commands: tuple[str | tuple[str, ...], ...]
    env: dict[str, str] = field(default_factory=dict)
    caches: dict[str, str] = field(default_factory=dict)  # cache name → path in the container; never in the layer
    pins: dict[str, str] | None = None  # "curl" of the distribution, "pip:flask", "npm:typescript"
    output: str = ""  # what `[build]` put out, copied below: packages that lie there are the project's own, not pinned


@dataclass(frozen=True, kw_only=True)
class Files:
    """Small text files written into the image."""

    op: ClassVar[str] = "files"
    contents: dict[str, str]  # absolute path → text
    modes: dict[str, int] = field(default_factory=dict)  # absolute path → permission bits; 0o644 where absent


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What `[build]` put out, copied into the image, owned by root.

    `paths`: path among the output → place in the image; a directory's content goes into that place, a file becomes it
    (or goes into it, where it ends with "/"). `output` is the diff id of the output, "" until it is known.
    """

    op: ClassVar[str] = "copy"
    paths: dict[str, str]
    output: str = ""


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of images that set none

BakeStep = Bootstrap | FromRegistry | FromDockerfile | FromTarball | Packages | Run | Files | Copy

# Part of every step's key. Raise it when the same step comes to make another layer: what a bootstrap leaves out, how
# packages are cleaned up after.
_BAKER = 2
_BAKERS = {"dockerfile": 3}  # of steps that have one of their own
_VERSIONS = ("pins", "prefer")  # no part of the key where there are none
_PLACES = ("root", "lock", "begins", "files")  # no part of the key: where something lies, and what others already say
_FOLLOWING = {"run": ("output",)}  # no part of the key of these steps: what is below them has it
_ADDED = ("labels", "volumes")  # came to configs later: no part of the key where there are none


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The OCI image config's run-time part. In a spec on an image of a registry, what is "" is left to that image."""

    env: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = "root"
    stop_signal: str = "TERM"
    exposed: tuple[str, ...] = ()  # ports it listens on: "5432/tcp"; for people, nothing is published by it
    health: Health | None = None
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()  # directories that a container has, whether a layer holds them or not


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One image of the file: a parent (by name, in the same `Resolved`) and steps on top of it."""

    name: str  # "base.py", "dev", "service.db"
    parent: str | None
    steps: tuple[BakeStep, ...]
    config: ImageConfig
    recipe: str = ""  # the recipe it comes from


@dataclass(frozen=True, kw_only=True)
class KeyedStep:
    """A step with its identity. `describe` is one line for people: `packages git, less`."""

    key: str
    step: BakeStep
    describe: str


@dataclass(frozen=True, kw_only=True)
class KeyedImage:
    """An image with its whole chain, parents' steps included, lowest first."""

    name: str
    key: str
    chain: tuple[KeyedStep, ...]
    config: ImageConfig


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer in the store. Sizes in bytes. `diff_id` is the digest of the uncompressed tar."""

    digest: str
    diff_id: str
    size: int
    media_type: str


@dataclass(frozen=True, kw_only=True)
class BakedImage:
    """An image in the store. `digest` is the index's, `manifest` the platform manifest's."""

    key: str
    digest: str
    manifest: str
    config_digest: str
    layers: tuple[Layer, ...]
    config: ImageConfig


def key_image(name: str, images: dict[str, ImageSpec]) -> KeyedImage:
    """The image `name` with the keys of its whole chain. Pure; `images` is by name and acyclic."""
    spec = images[name]
    below = key_image(spec.parent, images).chain if spec.parent else ()
    chain = list(below)
    for step in spec.steps:
        chain.append(build_keyed_step(chain[-1].key if chain else "", step))
    return build_keyed_image(name, chain, spec.config)


def build_keyed_image(name: str, chain: Sequence[KeyedStep], config: ImageConfig) -> KeyedImage:
    """The image of a chain, with its key."""
    plain = {name: value for name, value in codec.dump(config).items() if value or name not in _ADDED}
    key = ids.compute_key({"chain": chain[-1].key if chain else "", "config": plain})
    return KeyedImage(name=name, key=key, chain=tuple(chain), config=config)


def build_keyed_step(parent: str, step: BakeStep) -> KeyedStep:
    """A step on top of the chain whose last key is `parent`."""
    return KeyedStep(key=compute_step_key(parent, step), step=step, describe=describe(step))


def compute_step_key(parent: str, step: BakeStep) -> str:
    """The identity of a step: the key of the chain below and the step's own inputs."""
    left_out = (*_PLACES, *_FOLLOWING.get(step.op, ()))
    inputs = {name: value for name, value in codec.dump(step).items() if name not in left_out}
    plain = {name: value for name, value in inputs.items() if value or name not in _VERSIONS}
    return ids.compute_key({"baker": _BAKERS.get(step.op, _BAKER), "parent": parent, "step": plain})


def pin_step(step: BakeStep, versions: dict[str, str]) -> BakeStep:
    """The step once it is known what it installs. Commands that install nothing stay as they are."""
    match step:
        case Bootstrap() | Packages():
            return replace(step, pins=versions, prefer={})
        case FromRegistry():
            return replace(step, pins=versions)
        case FromDockerfile():
            return replace(step, pins=versions, prefer={}) if versions else step
        case Run():
            return replace(step, pins=versions) if versions else step
        case Files() | FromTarball() | Copy():
            return step


def is_unpinned(step: BakeStep) -> bool:
    """Whether the step may install packages whose versions nothing fixes."""
    return not isinstance(step, Files | FromTarball | Copy) and step.pins is None


def has_unknown_versions(step: BakeStep) -> bool:
    """Whether only what was made tells what a step installs: nothing fixes it, or its commands may be others now."""
    return is_unpinned(step) or isinstance(step, Run)


def merge_config(own: ImageConfig, below: ImageConfig) -> ImageConfig:
    """The config of an image on one that says itself how it runs: its own, and what it leaves to the other."""
    return replace(
        below,
        env={**below.env, **own.env},
        entrypoint=own.entrypoint or below.entrypoint,
        command=own.command or below.command,
        workdir=own.workdir or below.workdir,
        user=own.user or below.user,
        stop_signal=own.stop_signal or below.stop_signal,
        exposed=own.exposed or below.exposed,
        volumes=tuple(dict.fromkeys((*below.volumes, *own.volumes))),
        health=own.health or below.health,
        labels={**below.labels, **own.labels},
    )


def describe(step: BakeStep) -> str:
    """One line for a person: what the step does."""
    match step:
        case Bootstrap():
            extra = f" + {', '.join(step.packages)}" if step.packages else ""
            return f"{step.distribution} {step.suite}{extra}"
        case FromRegistry(reference=name) | FromTarball(path=name):
            return f"{step.op} {name}"
        case FromDockerfile():
            return f"dockerfile {step.path}{f' ({step.target})' if step.target else ''}"
        case Packages():
            return f"packages {', '.join(step.names)}"
        case Run():
            more = f" (+{len(step.commands) - 1} more)" if len(step.commands) > 1 else ""
            return f"run {format_title(step.commands[0])}{more}"
        case Files() | Copy():
            return _describe_files(step)


def _describe_files(step: Files | Copy) -> str:
    if isinstance(step, Copy):
        return f"copy {', '.join(f'{source} → {target}' for source, target in step.paths.items())}"
    return f"files {', '.join(sorted(path.rpartition('/')[2] for path in step.contents))}"


def format_title(command: str | tuple[str, ...]) -> str:
    """The first line of a command; a comment there is a title for what follows."""
    text = command if isinstance(command, str) else " ".join(command)
    return text.strip().splitlines()[0].removeprefix("# ")[:60]
