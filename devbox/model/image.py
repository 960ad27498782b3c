"""What an image is made from, and what a baked one is.

An `ImageSpec` is a chain of steps on top of a parent image of the same file. Every step becomes one OCI layer, keyed by
the key of everything below it plus its own inputs; an image's key is the key of its last step plus its config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from devbox.model import codec, ids


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The first layer of a base: a minimal root file system of a distribution's suite."""

    op: ClassVar[str] = "bootstrap"
    distribution: str  # "debian" | "ubuntu"
    suite: str
    components: tuple[str, ...] = ("main",)
    packages: tuple[str, ...] = ()
    check_valid_until: bool = True


@dataclass(frozen=True, kw_only=True)
class Packages:
    """Packages of the distribution, by its own package manager, without recommendations."""

    op: ClassVar[str] = "packages"
    names: tuple[str, ...]
    purge: tuple[str, ...] = ()  # paths removed from the same layer (what the service does not need)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Commands run as root in a container over the layers below. A string goes to `/bin/sh -c`."""

    op: ClassVar[str] = "run"
    commands: tuple[str | tuple[str, ...], ...]
    env: dict[str, str] = field(default_factory=dict)
    caches: dict[str, str] = field(default_factory=dict)  # cache name → path in the container; never in the layer


@dataclass(frozen=True, kw_only=True)
class Files:
    """Small text files written into the image."""

    op: ClassVar[str] = "files"
    contents: dict[str, str]  # absolute path → text
    modes: dict[str, int] = field(default_factory=dict)  # absolute path → permission bits; 0o644 where absent


BakeStep = Bootstrap | Packages | Run | Files

# Part of every step's key. Raise it when the same step comes to make another layer: what a bootstrap leaves out, how
# packages are cleaned up after.
_BAKER = 1


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The OCI image config's run-time part."""

    env: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = "root"
    stop_signal: str = "TERM"


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One image of the file: a parent (by name, in the same `Resolved`) and steps on top of it."""

    name: str  # "base.py", "dev", "service.db"
    parent: str | None
    steps: tuple[BakeStep, ...]
    config: ImageConfig


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
class Baked:
    """An image in the store. `digest` is the index's, `manifest` the platform manifest's."""

    key: str
    digest: str
    manifest: str
    config_digest: str
    layers: tuple[Layer, ...]
    config: ImageConfig


def keyed(name: str, images: dict[str, ImageSpec]) -> KeyedImage:
    """The image `name` with the keys of its whole chain. Pure; `images` is by name and acyclic."""
    spec = images[name]
    below = keyed(spec.parent, images).chain if spec.parent else ()
    chain = list(below)
    for step in spec.steps:
        parent = chain[-1].key if chain else ""
        chain.append(KeyedStep(key=step_key(parent, step), step=step, describe=describe(step)))
    config = codec.dump(spec.config)
    key = ids.key_of({"chain": chain[-1].key if chain else "", "config": config})
    return KeyedImage(name=name, key=key, chain=tuple(chain), config=spec.config)


def step_key(parent: str, step: BakeStep) -> str:
    """The identity of a step: the key of the chain below and the step's own inputs."""
    return ids.key_of({"baker": _BAKER, "parent": parent, "step": codec.dump(step)})


def describe(step: BakeStep) -> str:
    """One line for a person: what the step does."""
    match step:
        case Bootstrap():
            extra = f" + {', '.join(step.packages)}" if step.packages else ""
            return f"{step.distribution} {step.suite}{extra}"
        case Packages():
            return f"packages {', '.join(step.names)}"
        case Run():
            more = f" (+{len(step.commands) - 1} more)" if len(step.commands) > 1 else ""
            return f"run {_title(step.commands[0])}{more}"
        case Files():
            return f"files {', '.join(sorted(path.rpartition('/')[2] for path in step.contents))}"


def _title(command: str | tuple[str, ...]) -> str:
    """The first line of a command; a comment there is a title for what follows."""
    text = command if isinstance(command, str) else " ".join(command)
    return text.strip().splitlines()[0].removeprefix("# ")[:60]
