"""Releases: image, config and source. The id is the hash of these three."""

from __future__ import annotations

from dataclasses import field

from devbox.model import codec, ids
from devbox.model.container import ContainerSpec, Health, Limits, Port, Secret
from devbox.model.frozen import dataclass

SHORT = 12  # digits of a short id


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process of a release image: one of `[image.process]`. `env` and `secrets` are defaults for stages."""

    kind: str  # "service" | "job"
    command: tuple[str, ...]
    ports: tuple[Port, ...] = ()
    health: Health | None = None
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)  # their sources, never their values
    limits: Limits = field(default_factory=Limits)
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    replicas: int = 1


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """The settings for running the image in a stage: its processes by name, and their dependencies.

    `needs`: service → exported variable → name of the variable in the processes; all under their own names if empty.
    `stages`: processes of stages with different `vars`; the image is the same.
    """

    processes: dict[str, Process]
    needs: dict[str, dict[str, str]] = field(default_factory=dict)
    stages: dict[str, dict[str, Process]] = field(default_factory=dict)

    def get_stage_processes(self, name: str) -> dict[str, Process]:
        """Return the processes of a stage, before its own env and replicas are applied."""
        return self.stages.get(name, self.processes)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A result of `devbox build`. `image` is the index's digest; `source` a commit, or a digest of the files."""

    id: str
    image: str
    config: ReleaseConfig
    source: str
    created_at: str  # RFC 3339 UTC; not part of the id

    @property
    def short_id(self) -> str:
        """The first digits of its id, for users."""
        return self.id.removeprefix("sha256:")[:SHORT]

    @property
    def config_digest(self) -> str:
        """The identity of its config."""
        return compute_config_digest(self.config)

    @property
    def computed_id(self) -> str:
        """The id computed from its image, config and source."""
        return compute_release_id(image=self.image, config=self.config, source=self.source)

    @property
    def is_sound(self) -> bool:
        """True if its id matches its content, and every value has its declared type.

        Untrusted: writers to DEVBOX_HOME, or to the image's repository in a registry, can forge a release.
        """
        return codec.conforms(self, Release) and _is_time(self.created_at) and self.id == self.computed_id


def compute_config_digest(config: ReleaseConfig) -> str:
    """Return the digest of a config's canonical JSON."""
    return ids.compute_key(codec.dump(config))


def compute_release_id(*, image: str, config: ReleaseConfig, source: str) -> str:
    """Return the sha256 over the canonical JSON of image digest, config digest and source revision."""
    return ids.compute_key({"config": compute_config_digest(config), "image": image, "source": source})


def _is_time(text: str) -> bool:
    import datetime as dt

    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


# Part of every build's key. Increment it when the same build produces another layer.
_BUILDER = 1

WORKSPACE = "/workspace"  # directory of a build's inputs and output


@dataclass(frozen=True, kw_only=True)
class Build:
    """`[build]` of the file. `container` is its container spec; `inputs` and `output` are paths and globs."""

    container: ContainerSpec
    commands: tuple[str | tuple[str, ...], ...]
    inputs: tuple[str, ...]
    output: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)  # as written: values exported by services are not inputs


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """All inputs of a build. `image` is the toolchain's digest, `files` the digest of each input."""

    image: str
    files: dict[str, str]
    commands: tuple[str | tuple[str, ...], ...]
    env: dict[str, str]
    output: tuple[str, ...]
    network: str


def compute_build_key(inputs: BuildInputs) -> str:
    """Return the identity of a build."""
    return ids.compute_key({"builder": _BUILDER, **codec.dump(inputs)})


def make_build_inputs(build: Build, *, image: str, files: dict[str, str]) -> BuildInputs:
    """Return the current inputs of a build."""
    return BuildInputs(
        image=image,
        files=files,
        commands=build.commands,
        env=build.env,
        output=build.output,
        network=build.container.isolation.network,
    )
