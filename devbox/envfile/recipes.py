"""Recipes: the project's own `recipes/NAME.toml` first, then those shipped with devbox."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from devbox.envfile import problems, read
from devbox.errors import EnvFileError, UsageError
from devbox.host import safe_files
from devbox.host.environ import find_data_dir
from devbox.model import ids
from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec, describe
from devbox.roles import tool
from devbox.roles.fields import did_you_mean
from devbox.roles.images import build_image
from devbox.roles.network import HealthTable
from devbox.roles.recipes import Parameter, Recipe, RecipeUse, ServicePart, sample
from devbox.roles.role import ExpansionContext, Key


def list_candidates(name: str, root: str) -> tuple[str, str]:
    """Return the paths tried for a recipe, in order."""
    return f"{root}/recipes/{name}.toml", f"{find_data_dir('recipes')}/{name}.toml"


def find(name: str, root: str) -> str | None:
    """Return the file of a recipe, or None."""
    if "/" in name or name.startswith("."):
        return None
    own, shipped_ = list_candidates(name, root)
    if root and safe_files.exists(root, f"recipes/{name}.toml"):
        return own
    return shipped_ if os.path.isfile(shipped_) else None


def load(path: str) -> Recipe:
    """Load a recipe's file and validate its header."""
    name = f"recipes/{os.path.basename(path)}"
    source = read.read(path, name=name, within=_find_home(path))

    def where(key: Key) -> str:
        return f"{name}:{_find_line(key, source)}"

    try:
        recipe = Recipe.model_validate(source.data)
    except ValidationError as error:
        problems.raise_first(problems.list_problems(error, source.data, Recipe), where)
        raise
    if recipe.variants is not None and recipe.variants.by not in recipe.parameters:
        raise EnvFileError(
            f"invalid value for variants.by: parameter {recipe.variants.by} not found", where=where(("variants",))
        )
    return recipe


def compute_digest(name: str, root: str) -> str:
    """Return the digest of an existing recipe file."""
    path = find(name, root) or name
    text = read.read_text(path, name=f"recipes/{name}.toml", within=_find_home(path))
    return ids.compute_sha256(text.encode())


def _find_home(path: str) -> str:
    """Return the directory that contains `recipes`."""
    return os.path.dirname(os.path.dirname(path))


def list_names(root: str) -> list[str]:
    """Return the names of all recipes available to the project."""
    own: list[str] = []
    with contextlib.suppress(OSError):
        own = safe_files.list_names(root, "recipes") if root else []
    return sorted(_strip_suffix(own) | list_shipped())


def list_shipped() -> set[str]:
    """Return the names of the recipes shipped with devbox."""
    return _strip_suffix(os.listdir(find_data_dir("recipes")))


def _strip_suffix(names: Iterable[str]) -> set[str]:
    return {name.removesuffix(".toml") for name in names if name.endswith(".toml")}


def _find_line(key: Key, source: read.TomlFile) -> int:
    while key and key not in source.lines:
        key = key[:-1]
    return source.lines.get(key, 1)


@dataclass(frozen=True, kw_only=True)
class ParameterFacts:
    """A recipe parameter. `default` is None if it is required."""

    name: str
    description: str
    default: str | None
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ServiceFacts:
    """Defaults of the recipe as a service of its own name. Credentials in `exports` are shown by name."""

    port: int
    command: tuple[str, ...]
    volumes: dict[str, str]
    mounts: dict[str, str]  # project path → mount target
    health: str
    exports: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RecipeFacts:
    """A recipe. `own`: of the project; `shadows`: of the project, and replaces a shipped one.

    `versions`: choices of the first parameter; `steps`: one line per layer, with default parameters.
    """

    name: str
    description: str
    file: str
    own: bool
    shadows: bool
    versions: tuple[str, ...]
    parameters: tuple[ParameterFacts, ...]
    steps: tuple[str, ...]
    service: ServiceFacts | None
    tool: tuple[str, ...]


def describe_recipe(name: str, root: str) -> RecipeFacts:
    """Describe a recipe as seen by the project in `root` ("" outside projects)."""
    path = find(name, root)
    if path is None:
        known = list_names(root)
        raise UsageError(f"recipe {name} not found{did_you_mean(name, known)}", remedy=f"known: {', '.join(known)}")
    own = not path.startswith(f"{find_data_dir('recipes')}/")
    recipe = load(path)
    use = sample(name, recipe, where=f"recipes/{name}.toml:1")
    service, tool = (
        use.render_service(host=name, credentials={key: f"<{key}>" for key in recipe.credentials}),
        use.render_tool(),
    )
    return RecipeFacts(
        name=name,
        description=recipe.description,
        file=path,
        own=own,
        shadows=own and name in list_shipped(),
        versions=next((parameter.choices for parameter in recipe.parameters.values()), ()),
        parameters=tuple(_describe_parameter(key, parameter) for key, parameter in recipe.parameters.items()),
        steps=tuple(describe(step) for step in use.render_image()[0]),
        service=_describe_service(service, use) if service else None,
        tool=tool.command if tool else (),
    )


def render_example(found: RecipeFacts) -> str:
    """Render an example to paste, with the first parameter."""
    head = f"service.{found.name}" if found.service else "dev"
    lines = [f"[{head}]", f'recipe = "{found.name}"']
    if found.parameters:
        first = found.parameters[0]
        lines.append(f'with = {{ {first.name} = "{first.default or (*first.choices, "…")[0]}" }}')
    if found.service and any(url.startswith("http://") for url in found.service.exports.values()):
        lines.append(f"ports = [{found.service.port}]")
    elif found.service and found.service.exports:
        lines += ["", "[dev]", 'recipe = "debian"', f'needs = ["{found.name}"]']
    return "\n".join(lines)


def _describe_parameter(name: str, parameter: Parameter) -> ParameterFacts:
    return ParameterFacts(
        name=name, description=parameter.description, default=parameter.default, choices=parameter.choices
    )


def _describe_service(part: ServicePart, use: RecipeUse) -> ServiceFacts:
    return ServiceFacts(
        port=part.port,
        command=part.command,
        volumes=part.volumes,
        mounts={item.source: item.target for item in use.render_mounts()},
        health=_describe_health(part.health) if part.health else "none",
        exports=part.exports,
    )


def _describe_health(table: HealthTable) -> str:
    probe = table.to_health(default_port=0)
    if probe.http:
        return f"GET {probe.http} on port {probe.port} succeeds"
    if probe.tcp:
        return f"port {probe.port} accepts connections"
    words = probe.command[2:] if probe.command[:2] == ("/bin/sh", "-c") else probe.command
    return f"`{' '.join(words)}` succeeds"


def build_tool_image(name: str, table: Mapping[str, object], *, root: str) -> ImageSpec:
    """Return the image of `table`, in the form of `[tool.NAME]` without `from`."""
    checked = tool.ToolTable.model_validate(dict(table))
    path = find(checked.recipe, root) if checked.recipe else None
    context = ExpansionContext(
        root=root,
        recipes={checked.recipe: load(path)} if checked.recipe and path else {},
        workspace="",
        images={},
        containers={},
        names={},
        exports={},
        env_files={},
        credentials={},
        profiles=(),
        staged={},
        image=lambda label: build_tool_image(label, table, root=root),
        container=lambda label: tool.ROLE.container(checked, label, context),
        setup=lambda _: None,
        where=lambda _: "",
    )
    return build_image(checked, name, context)
