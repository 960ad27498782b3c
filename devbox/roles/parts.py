"""The parts that tables of several roles share: where the image comes from, how the container runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.model.container import Isolation, Limits
from devbox.roles.fields import (
    Capabilities,
    Command,
    Commands,
    Duration,
    Environment,
    InnerPath,
    InnerPaths,
    Model,
    NamedPaths,
    Number,
    Path,
    Restart,
    Secrets,
    Signal,
    Size,
    Text,
    Texts,
    TextTable,
    Whole,
)
from devbox.roles.network import HealthTable, Needs, Ports

SOURCES = ("from", "recipe", "image", "dockerfile", "tarball")


class Source(Model):
    """Where an image comes from: exactly one of `from`, `recipe`, `image`, `dockerfile`, `tarball`."""

    from_: Text | None = Field(default=None, alias="from")
    recipe: Text | None = None
    with_: TextTable = Field(default={}, alias="with")
    image: Text | None = None
    dockerfile: InnerPath | None = None
    tarball: InnerPath | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in SOURCES if self._source(name) is not None]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}; its image comes from exactly one of {', '.join(SOURCES)}")
        if not given:
            raise ValueError(f"says nowhere what its image is made from; give it one of {', '.join(SOURCES)}")
        if self.with_ and self.recipe is None:
            raise ValueError(f"has `with`, which are parameters of a recipe, but its image comes from `{given[0]}`")
        return self

    def _source(self, name: str) -> str | None:
        value: str | None = getattr(self, "from_" if name == "from" else name)
        return value


class ImageParts(Source):
    """An image of this file: a source, and what is added to it."""

    packages: Texts = ()
    run: Commands = ()


class LimitsTable(Model):
    """`limits`: what a container may use at most."""

    memory: Size | None = None
    cpus: Number | None = None
    pids: Whole | None = None

    @model_validator(mode="after")
    def _positive(self) -> Self:
        for name in ("cpus", "pids"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be more than 0")
        return self

    def limits(self) -> Limits:
        """The model's limits."""
        return Limits(memory=self.memory, cpus=self.cpus, pids=self.pids)


class IsolationTable(Model):
    """`isolation`: a preset by name, or a table."""

    preset: Literal["integrated", "isolated"] = "integrated"
    network: Literal["project", "none"] = "project"
    capabilities: Capabilities = ()
    read_only: bool = False

    @model_validator(mode="before")
    @classmethod
    def _preset_by_name(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": ["integrated", "isolated"]}, handler(core_schema)]}

    def isolation(self) -> Isolation:
        """The model's isolation."""
        return Isolation(
            preset=self.preset, network=self.network, capabilities=self.capabilities, read_only=self.read_only
        )


class MountTable(Model):
    """An item of `mounts`: a file or directory of the project, seen in the container."""

    source: InnerPath
    target: Path
    read_only: bool = True


class RunParts(Model):
    """How a container runs, whatever its role."""

    command: Command | None = None
    needs: Needs = {}
    env: Environment = {}
    env_files: InnerPaths = ()
    secrets: Secrets = {}
    volumes: NamedPaths = {}
    mounts: tuple[MountTable, ...] = ()
    tmpfs: tuple[Path, ...] = ()
    user: Text | None = None
    workdir: Path | None = None
    limits: LimitsTable = Field(default_factory=LimitsTable)
    isolation: IsolationTable = Field(default_factory=IsolationTable)
    profiles: Texts = ()


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


def _may_be_false(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": False})


class LongRunningParts(RunParts):
    """A container that stays: ports, health, restart, stop. `health = false` asks for no probe at all."""

    ports: Ports = ()
    health: Annotated[HealthTable | None, BeforeValidator(_false_is_none)] = Field(
        default=None, json_schema_extra=_may_be_false
    )
    restart: Restart = "on-failure"
    stop_signal: Signal | None = None
    stop_timeout: Duration | None = None

    @property
    def health_is_off(self) -> bool:
        """Whether the file says `health = false`."""
        return self.health is None and "health" in self.model_fields_set
