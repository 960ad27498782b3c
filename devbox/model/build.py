"""What `[build]` is: commands over declared inputs, and what of their work is kept."""

from __future__ import annotations

from dataclasses import field

from devbox.frozen import dataclass
from devbox.model import codec, ids
from devbox.model.container import ContainerSpec

# Part of every build's key. Raise it when the same build comes to leave another layer.
_BUILDER = 1

WORKSPACE = "/workspace"  # where a build finds its inputs, and leaves its output


@dataclass(frozen=True, kw_only=True)
class Build:
    """`[build]` as the file has it. `container` says how it runs; `inputs` and `output` are paths and globs."""

    container: ContainerSpec
    commands: tuple[str | tuple[str, ...], ...]
    inputs: tuple[str, ...]
    output: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)  # as written: what services export is no input


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """All that a build is made from. `image` is the toolchain's digest, `files` the digest of each input."""

    image: str
    files: dict[str, str]
    commands: tuple[str | tuple[str, ...], ...]
    env: dict[str, str]
    output: tuple[str, ...]
    network: str


def key(inputs: BuildInputs) -> str:
    """The identity of a build."""
    return ids.key_of({"builder": _BUILDER, **codec.dump(inputs)})


def inputs_of(build: Build, *, image: str, files: dict[str, str]) -> BuildInputs:
    """What a build is made from just now."""
    return BuildInputs(
        image=image,
        files=files,
        commands=build.commands,
        env=build.env,
        output=build.output,
        network=build.container.isolation.network,
    )
