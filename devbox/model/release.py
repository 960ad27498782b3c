"""A release: an image, what it runs, and what it was made from. Its id is the hash of these three."""

from __future__ import annotations

from dataclasses import field

from devbox.model import codec, ids
from devbox.model.container import ContainerSpec, Health, Limits, Port, Secret
from devbox.model.frozen import dataclass

SHORT = 12  # digits of an id that tell releases apart


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a release image runs: one of `[image.process]`. `env` and `secrets` are what a stage begins with."""

    kind: str  # "service" | "job"
    command: tuple[str, ...]
    ports: tuple[Port, ...] = ()
    health: Health | None = None
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)  # where they are, never their values
    limits: Limits = field(default_factory=Limits)
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    replicas: int = 1


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """What a stage needs to run the image beside the image: its processes by name, and what they lean on.

    `needs`: service → variable that it exports → name under which the processes get it, all of them where empty.
    `stages`: the processes of stages whose `vars` make others of them; the image is the same.
    """

    processes: dict[str, Process]
    needs: dict[str, dict[str, str]] = field(default_factory=dict)
    stages: dict[str, dict[str, Process]] = field(default_factory=dict)

    def get_stage_processes(self, name: str) -> dict[str, Process]:
        """What a stage runs, before its own env and replicas."""
        return self.stages.get(name, self.processes)


@dataclass(frozen=True, kw_only=True)
class Release:
    """What `devbox build` made. `image` is the index's digest; `source` a commit, or a digest of the files."""

    id: str
    image: str
    config: ReleaseConfig
    source: str
    created_at: str  # RFC 3339 UTC; no part of the id

    @property
    def short_id(self) -> str:
        """The first digits of its id, as people see and type it."""
        return self.id.removeprefix("sha256:")[:SHORT]

    @property
    def config_digest(self) -> str:
        """The identity of its config."""
        return compute_config_digest(self.config)

    @property
    def computed_id(self) -> str:
        """The id that a release of this image, config and source must have."""
        return compute_release_id(image=self.image, config=self.config, source=self.source)

    @property
    def is_sound(self) -> bool:
        """True if its id is the hash of what it says, and every value has its type.

        Anybody may have written it who can write below DEVBOX_HOME, or attach a document to an image at a registry.
        """
        return codec.conforms(self, Release) and _is_time(self.created_at) and self.id == self.computed_id


def compute_config_digest(config: ReleaseConfig) -> str:
    """The digest of a config's canonical JSON."""
    return ids.compute_key(codec.dump(config))


def compute_release_id(*, image: str, config: ReleaseConfig, source: str) -> str:
    """sha256 over the canonical JSON of image digest, config digest and source revision."""
    return ids.compute_key({"config": compute_config_digest(config), "image": image, "source": source})


def _is_time(text: str) -> bool:
    import datetime as dt

    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


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


def compute_build_key(inputs: BuildInputs) -> str:
    """The identity of a build."""
    return ids.compute_key({"builder": _BUILDER, **codec.dump(inputs)})


def make_build_inputs(build: Build, *, image: str, files: dict[str, str]) -> BuildInputs:
    """What a build is made from just now."""
    return BuildInputs(
        image=image,
        files=files,
        commands=build.commands,
        env=build.env,
        output=build.output,
        network=build.container.isolation.network,
    )
