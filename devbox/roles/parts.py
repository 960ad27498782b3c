"""Table parts shared by roles: image source and container settings."""

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
    """Action of a watch rule."""
    if isinstance(value, str):
        kind, _, name = value.partition(":")
        if value in ("restart", "rebuild") or (kind == "task" and name):
            return value
        if kind == "signal" and name:
            return f"signal:{parse_signal(name)}"
    raise ValueError(
        f"expected one of {', '.join(_ACTIONS)}, got {value if isinstance(value, str) else describe_type(value)}"
    )


class WatchTable(Model):
    """`[[dev.watch]]`, `[[service.NAME.watch]]`: actions on file changes, during `devbox up --watch`."""

    paths: InnerPaths
    """Files and globs to watch."""
    ignore: InnerPaths = ()
    """Exceptions to `paths`."""
    do: Annotated[str, *build_annotations(parse_action, {"type": "string"})] = "restart"
    """`restart` (in dev, only its command), `rebuild` (the image), `signal:NAME`, or `task:NAME` (run in dev)."""


SOURCES = ("from", "recipe", "image", "dockerfile", "tarball")


class DockerfileTable(Model):
    """`dockerfile`: path of a Dockerfile, or a table. Built by buildah."""

    path: InnerPath
    """Path of the Dockerfile."""
    context: InnerPath = "."
    """Build context, without files excluded by .dockerignore."""
    target: Text = ""
    """Build stage (default: the last one)."""
    args: TextTable = {}
    """Values of build arguments (ARG)."""

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
    """Commands in order; the first failure ends the setup. What an interrupted setup runs is killed before the next."""
    inputs: InnerPaths = ()
    """Files and globs; a change reruns the setup."""

    def to_setup(self, where: str) -> Setup | None:
        """Return the setup; None without commands."""
        return Setup(commands=self.run, inputs=self.inputs, where=where) if self.run else None


class SourceTable(Model):
    """Image source: exactly one of `from`, `recipe`, `image`, `dockerfile`, `tarball`.

    `dockerfile` may be combined with `from`: that image replaces the `FROM` of the same name.
    """

    from_: Text | None = Field(default=None, alias="from")
    """Name of another table of this file."""
    recipe: Text | None = None
    """Recipe: shipped with devbox, or `recipes/NAME.toml` of the project."""
    with_: TextTable = Field(default={}, alias="with")
    """Parameters of the recipe, listed by `devbox recipe show NAME`."""
    image: Text | None = None
    """Image of a registry, such as `postgres:17`; its config provides defaults for the table."""
    dockerfile: DockerfileTable | None = None
    """Dockerfile of the project: a path or a table; the config of its image provides defaults, as with `image`."""
    tarball: InnerPath | None = None
    """Tar of a root file system (plain, gzip, zstd, xz), or an image archive (OCI, `docker save`) with its config."""

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
            raise ValueError(f"has {' and '.join(given)}; expected exactly one of {', '.join(SOURCES)}")
        if not given:
            raise ValueError(f"has no image source; expected one of {', '.join(SOURCES)}")
        if self.with_ and self.recipe is None:
            raise ValueError(f"has `with`, the parameters of a recipe, but its image source is `{given[0]}`")
        return self

    def _get_source(self, name: str) -> object:
        return getattr(self, "from_" if name == "from" else name)


def get_parent(table: Model) -> str | None:
    """Return the table named in `from`; None without one."""
    return table.from_ if isinstance(table, SourceTable) else None


def get_recipe(table: Model) -> str | None:
    """Return the recipe of a table; None without one."""
    return table.recipe if isinstance(table, SourceTable) else None


class ImageParts(SourceTable):
    """An image of this file: a source, packages and commands."""

    packages: Packages = ()
    """Distribution packages, without recommended ones."""
    run: Commands = ()
    """Commands run as root after the packages are installed."""


_MOST = {"cpus": 1 << 16, "pids": 1 << 22}  # of Linux; a quota of more processors is refused


class LimitsTable(Model):
    """`limits`: resource limits of a container."""

    memory: Size | None = None
    """Memory, and the same amount of swap if the kernel accounts for swap."""
    cpus: Number | None = None
    """CPU time, in processors."""
    pids: Whole | None = None
    """Number of processes and threads."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise ValueError(f"{name}: expected more than 0 and at most {most}")
        return self

    def to_limits(self) -> Limits:
        """Return the limits."""
        return Limits(memory=self.memory, cpus=self.cpus, pids=self.pids)


class IsolationTable(Model):
    """`isolation`: name of a preset, or a table."""

    preset: Literal["integrated", "isolated"] = "integrated"
    """`integrated`: with the host's proxy and CA settings, except for services; `isolated`: restricted."""
    network: Literal["project", "none"] | None = None
    """`project`: instance network and internet (default); `none`: loopback only (default if isolated)."""
    capabilities: Capabilities = ()
    """Capabilities in addition to Docker's fourteen (isolated: none); `-NAME` drops one, `-ALL` all not listed."""
    egress: Egress | None = None
    """Allowed host names: `pypi.org`, `*.debian.org`, `pypi.org:443`; `[]`: none (default: all)."""
    read_only: bool | None = None
    """Mount the root file system read-only, except for volumes and mounts (default if isolated)."""

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
            raise ValueError('has `egress`, which conflicts with network = "none"')
        return self

    def to_isolation(self) -> Isolation:
        """Return the isolation."""
        closed = self.preset == "isolated"
        return Isolation(
            preset=self.preset,
            network=self.network or ("none" if closed and self.egress is None else "project"),
            egress=self.egress,
            capabilities=(*((f"-{ALL}",) if closed else ()), *self.capabilities),
            read_only=closed if self.read_only is None else self.read_only,
        )


class MountTable(Model):
    """Item of `mounts`: a file or directory of the project, mounted in the container."""

    source: InnerPath
    """File or directory of the project."""
    target: Path
    """Mount point in the container."""
    read_only: bool = True
    """Mount read-only."""


class RunParts(Model):
    """Container settings of all roles."""

    command: Command | None = None
    """Command (default: the recipe's)."""
    needs: Needs = {}
    """Containers that must be ready first; their exports become environment variables."""
    env: Environment = {}
    """Environment variables; they override `env_files`, which override exports."""
    env_files: InnerPaths = ()
    """Files with NAME=value lines, below the project directory."""
    secrets: Secrets = {}
    """Environment variables fetched at container start and stored nowhere else."""
    volumes: NamedPaths = {}
    """Named volumes of the instance and their mount points; containers share volumes by name."""
    mounts: tuple[MountTable, ...] = ()
    """Files and directories of the project mounted in the container."""
    tmpfs: tuple[Path, ...] = ()
    """In-memory directories, empty at each start."""
    user: User | None = None
    """User in the container; root is the owner of the project directory on the host."""
    workdir: Path | None = None
    """Working directory of the command."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """Resource limits of the container."""
    isolation: IsolationTable = Field(default_factory=IsolationTable)
    """Isolation from the host: name of a preset, or a table."""
    profiles: Texts = ()
    """Start only if `DEVBOX_PROFILES` contains one of these profiles, or as a need of another container."""

    @property
    def reaches(self) -> tuple[str, ...]:
        """Names of the containers that must run first."""
        return tuple(self.needs)


def list_reached(table: Model) -> tuple[str, ...]:
    """Return the names of the containers that must run before a table's own."""
    return table.reaches if isinstance(table, RunParts) else ()


def is_enabled(table: Model, profiles: tuple[str, ...]) -> bool:
    """True if a table has no profiles, or one of these."""
    own = getattr(table, "profiles", ())
    return not own or bool(set(own) & set(profiles))


def _convert_false(value: Any) -> Any:
    return None if value is False else value


def _allow_false(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": False})


class LongRunningParts(RunParts):
    """Settings of long-running containers: ports, health, restart, stop. `health = false` disables the probe."""

    ports: Ports = ()
    """Ports published on the host."""
    health: Annotated[HealthTable | None, BeforeValidator(_convert_false)] = Field(
        default=None, json_schema_extra=_allow_false
    )
    """Readiness probe; `false`: none."""
    restart: Restart = "on-failure"
    """Restart policy after an exit."""
    stop_signal: Signal | None = None
    """Signal that stops the container (default: the recipe's)."""
    stop_timeout: Duration | None = None
    """Time between the stop signal and SIGKILL."""
    watch: tuple[WatchTable, ...] = ()
    """Actions on file changes, during `devbox up --watch`."""

    @property
    def is_health_off(self) -> bool:
        """True for `health = false`."""
        return self.health is None and "health" in self.model_fields_set
