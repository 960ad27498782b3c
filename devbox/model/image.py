"""Image model: image specs, their keyed steps, and built images.

An `ImageSpec` is a chain of steps on top of a parent image of the same file. Every step becomes one OCI layer, keyed by
the key of everything below plus its own inputs; an image's key is the key of its last step plus its config.

Installed packages become an input once known: `pins` are the locked versions (None without a lock entry), `prefer` are
versions to use while they are available.
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
    """The first layers of an image, from a registry image. `pins` is its digest by reference."""

    op: ClassVar[str] = "image"
    reference: str
    pins: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class FromDockerfile:
    """The first layers of an image, built from a Dockerfile.

    `content` is the digest of the file and its context, "" until computed, in the project at `root`, excluding its
    lockfile `lock`. `FROM` of the name `base` is the image below, with config `base_config`. `begins`: its base images
    in registries, by name; `pins`: their digests; `prefer`: digests of some of them, if others are unlocked. `files`:
    kind and first digits of every context entry by path, and of the Dockerfile at ""; empty if there are too many for a
    reason.
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

    `content` is the digest of the file, "" until computed, in the project at `root`.
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
    purge: tuple[str, ...] = ()  # paths removed from the same layer (not needed by the service)
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
    output: str = ""  # output of `[build]` below: packages in it are the project's own, not pinned


@dataclass(frozen=True, kw_only=True)
class Files:
    """Small text files written into the image."""

    op: ClassVar[str] = "files"
    contents: dict[str, str]  # absolute path → text
    modes: dict[str, int] = field(default_factory=dict)  # absolute path → permission bits; default 0o644


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Output of `[build]`, copied into the image, owned by root.

    `paths`: path in the output → place in the image; a directory's content is copied into the place, a file to the
    place (or into it, if it ends with "/"). `output` is the diff id of the output, "" until known.
    """

    op: ClassVar[str] = "copy"
    paths: dict[str, str]
    output: str = ""


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # for images that set none

BakeStep = Bootstrap | FromRegistry | FromDockerfile | FromTarball | Packages | Run | Files | Copy

# Part of every step's key. Increment it when the same step produces another layer: exclusions of a bootstrap, cleanup
# after packages.
_BAKER = 2
_BAKERS = {"dockerfile": 3}  # of steps with a version of their own
_VERSIONS = ("pins", "prefer")  # not part of the key if empty
_PLACES = ("root", "lock", "begins", "files")  # not part of the key: locations, and data covered by other fields
_FOLLOWING = {"run": ("output",)}  # not part of the key of these steps: included in the step below
_ADDED = ("labels", "volumes")  # added to configs later: not part of the key if empty


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """Run-time part of the OCI image config. On a registry image, "" means the image's own value."""

    env: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = "root"
    stop_signal: str = "TERM"
    exposed: tuple[str, ...] = ()  # ports it listens on: "5432/tcp"; informational, not published
    health: Health | None = None
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()  # directories that exist in a container even if no layer contains them


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One image of the file: a parent (by name, in the same `Spec`) and steps on top of it."""

    name: str  # "base.py", "dev", "service.db"
    parent: str | None
    steps: tuple[BakeStep, ...]
    config: ImageConfig
    recipe: str = ""  # the recipe that it comes from


@dataclass(frozen=True, kw_only=True)
class KeyedStep:
    """A step with its identity. `describe` is one line for users: `packages git, less`."""

    key: str
    step: BakeStep
    describe: str


@dataclass(frozen=True, kw_only=True)
class KeyedImage:
    """An image with its whole chain, including parents' steps, lowest first."""

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
    """Return the image `name` with the keys of its whole chain. Pure; `images` is by name and acyclic."""
    spec = images[name]
    below = key_image(spec.parent, images).chain if spec.parent else ()
    chain = list(below)
    for step in spec.steps:
        chain.append(build_keyed_step(chain[-1].key if chain else "", step))
    return build_keyed_image(name, chain, spec.config)


def build_keyed_image(name: str, chain: Sequence[KeyedStep], config: ImageConfig) -> KeyedImage:
    """Return the image of a chain, with its key."""
    plain = {name: value for name, value in codec.dump(config).items() if value or name not in _ADDED}
    key = ids.compute_key({"chain": chain[-1].key if chain else "", "config": plain})
    return KeyedImage(name=name, key=key, chain=tuple(chain), config=config)


def build_keyed_step(parent: str, step: BakeStep) -> KeyedStep:
    """Return a step on top of the chain whose last key is `parent`."""
    return KeyedStep(key=compute_step_key(parent, step), step=step, describe=describe(step))


def compute_step_key(parent: str, step: BakeStep) -> str:
    """Return the identity of a step, from the key of the chain below and the step's own inputs."""
    left_out = (*_PLACES, *_FOLLOWING.get(step.op, ()))
    inputs = {name: value for name, value in codec.dump(step).items() if name not in left_out}
    plain = {name: value for name, value in inputs.items() if value or name not in _VERSIONS}
    return ids.compute_key({"baker": _BAKERS.get(step.op, _BAKER), "parent": parent, "step": plain})


def pin_step(step: BakeStep, versions: dict[str, str]) -> BakeStep:
    """Return the step pinned to the installed versions. Commands that install nothing stay unchanged."""
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
    """Return whether the step may install packages of unpinned versions."""
    return not isinstance(step, Files | FromTarball | Copy) and step.pins is None


def has_unknown_versions(step: BakeStep) -> bool:
    """Return whether a step's packages are known only from its result: unpinned, or its commands may have changed."""
    return is_unpinned(step) or isinstance(step, Run)


def merge_config(own: ImageConfig, below: ImageConfig) -> ImageConfig:
    """Return the config of an image on another one: its own values, else those of the other."""
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
    """Describe the step in one line for users."""
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
    """Return the first line of a command; a comment there serves as its title."""
    text = command if isinstance(command, str) else " ".join(command)
    return text.strip().splitlines()[0].removeprefix("# ")[:60]
