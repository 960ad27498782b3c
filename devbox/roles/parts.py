"""The parts that tables of several roles share: where the image comes from, how the container runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.errors import UsageError
from devbox.images.registry import reference
from devbox.model.container import Isolation, Limits, Setup
from devbox.roles.fields import (
    ALL,
    Capabilities,
    Command,
    Commands,
    Duration,
    Egress,
    Environment,
    InnerPath,
    InnerPaths,
    Model,
    NamedPaths,
    Number,
    Packages,
    Path,
    Restart,
    Secrets,
    Signal,
    Size,
    Text,
    Texts,
    TextTable,
    User,
    Whole,
    build_annotations,
    describe_type,
    parse_signal,
)
from devbox.roles.network import HealthTable, Needs, Ports

_ACTIONS = ("restart", "rebuild", "signal:NAME", "task:NAME")


def parse_action(value: Any) -> str:
    """What a watch does."""
    if isinstance(value, str):
        kind, _, name = value.partition(":")
        if value in ("restart", "rebuild") or (kind == "task" and name):
            return value
        if kind == "signal" and name:
            return f"signal:{parse_signal(name)}"
    raise ValueError(
        f"must be one of {', '.join(_ACTIONS)}, not {value if isinstance(value, str) else describe_type(value)}"
    )


class WatchTable(Model):
    """`[[dev.watch]]`, `[[service.NAME.watch]]`: what happens when files change, while `devbox up --watch` stays."""

    paths: InnerPaths
    """Files and globs to watch."""
    ignore: InnerPaths = ()
    """Of these, what does not count."""
    do: Annotated[str, *build_annotations(parse_action, {"type": "string"})] = "restart"
    """`restart` (of dev's command alone, in dev), `rebuild` its image, `signal:NAME`, or run `task:NAME` in dev."""


SOURCES = ("from", "recipe", "image", "dockerfile", "tarball")


class DockerfileTable(Model):
    """`dockerfile`: the path of a Dockerfile, or a table. It is built by buildah."""

    path: InnerPath
    """The Dockerfile."""
    context: InnerPath = "."
    """The directory it copies from, without what .dockerignore names there."""
    target: Text = ""
    """The stage that is wanted; the last one when left out."""
    args: TextTable = {}
    """Values of its ARGs."""

    @model_validator(mode="before")
    @classmethod
    def _expand_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


class SetupTable(Model):
    """`setup`: run in the started container when `inputs` changed."""

    run: Commands
    """The commands, in order; the first that fails ends the setup."""
    inputs: InnerPaths = ()
    """Files and globs; the setup runs again when one of them changed."""

    def to_setup(self, where: str) -> Setup | None:
        """The model's setup; None where there is nothing to run."""
        return Setup(commands=self.run, inputs=self.inputs, where=where) if self.run else None


class SourceTable(Model):
    """Where an image comes from: exactly one of `from`, `recipe`, `image`, `dockerfile`, `tarball`.

    A Dockerfile may have `from` beside it: that table's image is what its `FROM` of the same name means.
    """

    from_: Text | None = Field(default=None, alias="from")
    """Another table of this file, by name."""
    recipe: Text | None = None
    """A recipe: one of devbox's, or `recipes/NAME.toml` of the project."""
    with_: TextTable = Field(default={}, alias="with")
    """Parameters of the recipe; `devbox recipe show NAME` lists them."""
    image: Text | None = None
    """An image of a registry, as in `postgres:17`; how it wants to be run counts where the table says nothing."""
    dockerfile: DockerfileTable | None = None
    """A Dockerfile of the project: its path, or a table; how its image wants to be run counts as with `image`."""
    tarball: InnerPath | None = None
    """A file of the project: a tar of a root file system, plain or packed (gzip, zstd, xz), or an archive of an image
    (OCI's, or of `docker save`), which runs as it says."""

    @field_validator("image")
    @classmethod
    def _parse_reference(cls, value: str | None) -> str | None:
        try:
            return value if value is None else reference.parse(value).familiar_name
        except UsageError as error:
            raise ValueError(f"{error.sentence}: {error.remedy}") from None

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        given = [name for name in SOURCES if self._get_source(name) is not None]
        if len(given) > 1 and given != ["from", "dockerfile"]:
            raise ValueError(f"has {' and '.join(given)}; its image comes from exactly one of {', '.join(SOURCES)}")
        if not given:
            raise ValueError(f"says nowhere what its image is made from; give it one of {', '.join(SOURCES)}")
        if self.with_ and self.recipe is None:
            raise ValueError(f"has `with`, which are parameters of a recipe, but its image comes from `{given[0]}`")
        return self

    def _get_source(self, name: str) -> object:
        return getattr(self, "from_" if name == "from" else name)


class ImageParts(SourceTable):
    """An image of this file: a source, and what is added to it."""

    packages: Packages = ()
    """Packages of the distribution, without what they merely recommend."""
    run: Commands = ()
    """Commands that finish the image, as root, after the packages."""


class LimitsTable(Model):
    """`limits`: what a container may use at most."""

    memory: Size | None = None
    """Memory, and as much swap again where the kernel counts that."""
    cpus: Number | None = None
    """Processors' worth of time."""
    pids: Whole | None = None
    """Processes and threads."""

    @model_validator(mode="after")
    def _check_positive(self) -> Self:
        for name in ("cpus", "pids"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be more than 0")
        return self

    def to_limits(self) -> Limits:
        """The model's limits."""
        return Limits(memory=self.memory, cpus=self.cpus, pids=self.pids)


class IsolationTable(Model):
    """`isolation`: a preset by name, or a table."""

    preset: Literal["integrated", "isolated"] = "integrated"
    """`integrated`: with this machine's proxy and CA settings (services never get them); `isolated`: closed."""
    network: Literal["project", "none"] | None = None
    """`project`: the instance's containers and the internet (integrated); `none`: loopback only (isolated)."""
    capabilities: Capabilities = ()
    """Linux capabilities beside Docker's fourteen (isolated: none); `-NAME` takes one away, `-ALL` those not named."""
    egress: Egress | None = None
    """Host names within reach: `pypi.org`, `*.debian.org`, `pypi.org:443`; `[]`: none; left out: every one."""
    read_only: bool | None = None
    """The container's own files can't be changed; volumes and mounts can. True when isolated."""

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": ["integrated", "isolated"]}, handler(core_schema)]}

    @model_validator(mode="after")
    def _check_egress(self) -> Self:
        if self.egress is not None and self.network == "none":
            raise ValueError('has `egress`, but without a network it reaches nothing; remove network = "none"')
        return self

    def to_isolation(self) -> Isolation:
        """The model's isolation."""
        closed = self.preset == "isolated"
        return Isolation(
            preset=self.preset,
            network=self.network or ("none" if closed and self.egress is None else "project"),
            egress=self.egress,
            capabilities=(*((f"-{ALL}",) if closed else ()), *self.capabilities),
            read_only=closed if self.read_only is None else self.read_only,
        )


class MountTable(Model):
    """An item of `mounts`: a file or directory of the project, seen in the container."""

    source: InnerPath
    """The file or directory of the project."""
    target: Path
    """Where it is seen in the container."""
    read_only: bool = True
    """Whether it can only be read there."""


class RunParts(Model):
    """How a container runs, whatever its role."""

    command: Command | None = None
    """What runs; the recipe's command when left out."""
    needs: Needs = {}
    """Containers that must be ready before this one starts; what they export arrives as variables."""
    env: Environment = {}
    """Variables; they win over `env_files`, which win over exports."""
    env_files: InnerPaths = ()
    """Files of NAME=value below the project directory."""
    secrets: Secrets = {}
    """Variables whose values are fetched when the container starts, and kept nowhere else."""
    volumes: NamedPaths = {}
    """Named volumes of the instance and where they are mounted; containers share them by name."""
    mounts: tuple[MountTable, ...] = ()
    """Files and directories of the project, seen in the container."""
    tmpfs: tuple[Path, ...] = ()
    """Directories in memory, empty at each start."""
    user: User | None = None
    """The user in the container; root there is the owner of the project directory outside."""
    workdir: Path | None = None
    """The directory the command starts in."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """What the container may use at most."""
    isolation: IsolationTable = Field(default_factory=IsolationTable)
    """How far it is kept from this machine: a preset's name, or a table."""
    profiles: Texts = ()
    """With profiles, it starts only when `DEVBOX_PROFILES` names one of them, or when somebody needs it."""

    @property
    def reaches(self) -> tuple[str, ...]:
        """Names of the containers it must find running."""
        return tuple(self.needs)


def _convert_false(value: Any) -> Any:
    return None if value is False else value


def _allow_false(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": False})


class LongRunningParts(RunParts):
    """A container that stays: ports, health, restart, stop. `health = false` asks for no probe at all."""

    ports: Ports = ()
    """Ports reachable from this machine."""
    health: Annotated[HealthTable | None, BeforeValidator(_convert_false)] = Field(
        default=None, json_schema_extra=_allow_false
    )
    """How devbox knows that it is ready; `false`: no probe at all."""
    restart: Restart = "on-failure"
    """What happens when it ends by itself."""
    stop_signal: Signal | None = None
    """What asks it to end; the recipe's signal when left out."""
    stop_timeout: Duration | None = None
    """How long it has to end before it is killed."""
    watch: tuple[WatchTable, ...] = ()
    """What happens when files change, while `devbox up --watch` stays."""

    @property
    def is_health_off(self) -> bool:
        """Whether the file says `health = false`."""
        return self.health is None and "health" in self.model_fields_set
