"""Recipes: parameterized definitions of an image, with a service or tool.

A recipe is TOML. Its header (parameters, variants) is validated when read; the rest is rendered with the parameters of
a use and then validated, so that any value may be a template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from devbox.errors import EnvFileError
from devbox.model.frozen import dataclass
from devbox.model.image import BakeStep, Bootstrap, Files, ImageConfig, Packages, Run
from devbox.render import RenderError, render, render_all
from devbox.roles.fields import (
    Command,
    Commands,
    Duration,
    Environment,
    Model,
    NamedPaths,
    Path,
    Signal,
    Text,
    Texts,
    TextTable,
    User,
    Whole,
    did_you_mean,
)
from devbox.roles.network import HealthTable
from devbox.roles.parts import MountTable

# Template values of tables without routes or ports.
_UNTOLD: Mapping[str, object] = {"routes": (), "ports": ()}

# Components of each distribution's archive used for base systems.
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}


class Parameter(Model):
    """`[parameters.NAME]`: a parameter, set by `with`."""

    description: Text
    default: Text | None = None
    choices: Texts = ()
    pattern: Text | None = None


class RecipeVariants(Model):
    """Additional template values, selected by the value of parameter `by`."""

    by: Text
    values: dict[str, TextTable]


class BootstrapStep(Model):
    """A minimal system of a distribution. Recipes with equal steps share the layer."""

    op: Literal["bootstrap"]
    distribution: Literal["debian", "ubuntu"]
    suite: Text
    packages: Texts = ()

    def to_step(self) -> Bootstrap:
        """Return the build step."""
        components = COMPONENTS[self.distribution]
        return Bootstrap(
            distribution=self.distribution, suite=self.suite, components=components, packages=self.packages
        )


class PackagesStep(Model):
    """Packages of the distribution. Empty items of `purge` are ignored."""

    op: Literal["packages"]
    names: Texts
    purge: Texts = ()

    def to_step(self) -> Packages:
        """Return the build step."""
        return Packages(names=self.names, purge=tuple(path for path in self.purge if path))


class RunStep(Model):
    """Commands in the image."""

    op: Literal["run"]
    commands: Commands
    env: Environment = {}

    def to_step(self) -> Run:
        """Return the build step."""
        return Run(commands=self.commands, env=self.env)


class FilesStep(Model):
    """Text files in the image."""

    op: Literal["files"]
    contents: TextTable
    modes: dict[str, Whole] = {}

    def to_step(self) -> Files:
        """Return the build step."""
        return Files(contents=self.contents, modes=self.modes)


PartT = TypeVar("PartT", bound=Model)
RecipeStep = Annotated[BootstrapStep | PackagesStep | RunStep | FilesStep, Field(discriminator="op")]


class ConfigPart(Model):
    """`[config]`: runtime configuration of the image."""

    env: Environment = {}
    workdir: Path = "/"
    user: User = "root"
    stop_signal: Signal = "TERM"
    labels: TextTable = {}


class ImagePart(Model):
    """Image part of a recipe."""

    steps: tuple[RecipeStep, ...] = Field(min_length=1)
    config: ConfigPart = Field(default_factory=ConfigPart)


def _drop_empty(value: Any) -> Any:
    """Drop mounts with an empty source, set by a parameter."""
    if not isinstance(value, list):
        return value
    return [item for item in value if not (isinstance(item, dict) and item.get("source") == "")]


Mounts = Annotated[tuple[MountTable, ...], BeforeValidator(_drop_empty)]


class MountsPart(Model):
    """Project mounts of a recipe's service."""

    mounts: Mounts = ()


class ServicePart(MountsPart):
    """`[service]`: settings of the image as a service, and its exports."""

    command: Command
    port: Whole
    volumes: NamedPaths = {}
    credentials: Texts = ()
    routes: bool = False  # a proxy: its templates get the `routes` and `ports` of the table
    env: Environment = {}
    exports: Environment = {}
    health: HealthTable | None = None
    stop_signal: Signal = "TERM"
    stop_timeout: Duration = 10.0


class ToolPart(Model):
    """`[tool]`: command of the image as a tool."""

    command: Command


class Recipe(Model):
    """A recipe as read. `steps`, `config`, `service` and `tool` are unrendered templates."""

    description: Text
    parameters: dict[str, Parameter] = {}
    variants: RecipeVariants | None = None
    steps: tuple[dict[str, Any], ...] = ()
    config: dict[str, Any] = {}
    service: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None

    @property
    def credentials(self) -> tuple[str, ...]:
        """Names of the credentials generated for a service of this recipe."""
        return tuple((self.service or {}).get("credentials", ()))


@dataclass(frozen=True, kw_only=True)
class RecipeUse:
    """A use of a recipe: name, recipe, checked parameters with the variant's values, and location."""

    name: str
    recipe: Recipe
    values: Mapping[str, str]
    where: str

    def render_image(self) -> tuple[tuple[BakeStep, ...], ImageConfig]:
        """Return the image's steps and config."""
        raw = {"steps": list(self.recipe.steps), "config": self.recipe.config}
        part = self._render_part(ImagePart, raw, self.values)
        config = ImageConfig(**part.config.model_dump())
        return tuple(step.to_step() for step in part.steps), config

    def render_service(
        self, *, host: str, credentials: Mapping[str, str], more: Mapping[str, object] | None = None
    ) -> ServicePart | None:
        """Render the service `host` with the values `more`; None for a recipe without a service."""
        if self.recipe.service is None:
            return None
        port = self._render_text(str(self.recipe.service.get("port", "")), self.values)
        values = {**_UNTOLD, **(more or {}), **self.values, "host": host, "port": port, "credentials": credentials}
        return self._render_part(ServicePart, self.recipe.service, values)

    def render_mounts(self) -> tuple[MountTable, ...]:
        """Return the project files and directories mounted by the service."""
        raw = {"mounts": (self.recipe.service or {}).get("mounts", [])}
        return self._render_part(MountsPart, raw, self.values).mounts

    def render_tool(self) -> ToolPart | None:
        """Render the tool; None for a recipe without a tool."""
        return self._render_part(ToolPart, self.recipe.tool, self.values) if self.recipe.tool is not None else None

    def _render_part(self, model: type[PartT], raw: dict[str, Any], values: Mapping[str, object]) -> PartT:
        try:
            return model.model_validate(render_all(raw, values))
        except RenderError as error:
            raise self._build_error(str(error)) from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise self._build_error(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None

    def _render_text(self, text: str, values: Mapping[str, object]) -> str:
        try:
            return render(text, values)
        except RenderError as error:
            raise self._build_error(str(error)) from None

    def _build_error(self, why: str) -> EnvFileError:
        return EnvFileError(f"invalid recipe {self.name}: {why}", where=self.where)


def use(name: str, recipe: Recipe, given: Mapping[str, str], *, where: str) -> RecipeUse:
    """Return a use of `recipe` with the parameters `given`; an invalid one raises EnvFileError at `where`."""
    for key, value in given.items():
        _check_parameter(name, recipe, key, value, where)
    values = {key: parameter.default for key, parameter in recipe.parameters.items() if parameter.default is not None}
    values.update(given)
    if missing := [key for key in recipe.parameters if key not in values]:
        example = f'with = {{ {missing[0]} = "…" }}'
        raise EnvFileError(
            f"missing parameters of recipe {name}: {', '.join(missing)}", where=where, remedy=f"set {example}"
        )
    return RecipeUse(name=name, recipe=recipe, values=_add_variant(recipe, values), where=where)


def sample(name: str, recipe: Recipe, *, where: str) -> RecipeUse:
    """Return a sample use of `recipe`: defaults, else the first choice or the parameter's name."""
    values = {
        key: parameter.default if parameter.default is not None else (*parameter.choices, f"<{key}>")[0]
        for key, parameter in recipe.parameters.items()
    }
    return RecipeUse(name=name, recipe=recipe, values=_add_variant(recipe, values), where=where)


def _add_variant(recipe: Recipe, values: dict[str, str]) -> dict[str, str]:
    """Add the values of the selected variant to the parameters."""
    if recipe.variants is None:
        return values
    return {**recipe.variants.values.get(values[recipe.variants.by], {}), **values}


def _check_parameter(name: str, recipe: Recipe, key: str, value: str, where: str) -> None:
    parameter = recipe.parameters.get(key)
    if parameter is None:
        known = ", ".join(recipe.parameters) or "none"
        raise EnvFileError(
            f"parameter {key} not found in recipe {name}{did_you_mean(key, recipe.parameters)} (known: {known})",
            where=where,
        )
    if parameter.choices and value not in parameter.choices:
        raise EnvFileError(
            f"invalid value for {key} of recipe {name}: expected one of {', '.join(parameter.choices)}, got {value!r}",
            where=where,
        )
    if parameter.pattern is not None and not re.fullmatch(parameter.pattern, value):
        raise EnvFileError(
            f"invalid value for {key} of recipe {name}: expected {parameter.pattern} ({parameter.description}),"
            f" got {value!r}",
            where=where,
        )
