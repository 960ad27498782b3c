"""Reading recipes: the project's own `recipes/NAME.toml` first, then those devbox ships."""

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
from devbox.roles.context import ExpansionContext, Key
from devbox.roles.fields import did_you_mean
from devbox.roles.images import build_image
from devbox.roles.network import HealthTable
from devbox.roles.recipes import Parameter, Recipe, RecipeUse, ServicePart, sample
from devbox.roles.tool import ToolTable


def list_candidates(name: str, root: str) -> tuple[str, str]:
    """Where a recipe is looked for, in order."""
    return f"{root}/recipes/{name}.toml", f"{find_data_dir('recipes')}/{name}.toml"


def find(name: str, root: str) -> str | None:
    """The file of a recipe; None where there is no such recipe."""
    if "/" in name or name.startswith("."):
        return None
    own, shipped_ = list_candidates(name, root)
    if root and safe_files.exists(root, f"recipes/{name}.toml"):
        return own
    return shipped_ if os.path.isfile(shipped_) else None


def load(path: str) -> Recipe:
    """A recipe's file, its head validated."""
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
        raise EnvFileError(f"variants go by {recipe.variants.by}, which is no parameter", where=where(("variants",)))
    return recipe


def compute_digest(name: str, root: str) -> str:
    """The digest of a recipe's file, which is there."""
    path = find(name, root) or name
    text = read.read_text(path, name=f"recipes/{name}.toml", within=_find_home(path))
    return ids.compute_sha256(text.encode())


def _find_home(path: str) -> str:
    """The directory of all recipes of a project, or of devbox, is `recipes` in it."""
    return os.path.dirname(os.path.dirname(path))


def list_names(root: str) -> list[str]:
    """The names of all recipes the project can use."""
    own: list[str] = []
    with contextlib.suppress(OSError):
        own = safe_files.list_names(root, "recipes") if root else []
    return sorted(_strip_suffix(own) | list_shipped())


def list_shipped() -> set[str]:
    """The names of the recipes that come with devbox."""
    return _strip_suffix(os.listdir(find_data_dir("recipes")))


def _strip_suffix(names: Iterable[str]) -> set[str]:
    return {name.removesuffix(".toml") for name in names if name.endswith(".toml")}


def _find_line(key: Key, source: read.TomlFile) -> int:
    while key and key not in source.lines:
        key = key[:-1]
    return source.lines.get(key, 1)


@dataclass(frozen=True, kw_only=True)
class ParameterFacts:
    """What a use may set. `default` is None where it must."""

    name: str
    description: str
    default: str | None
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ServiceFacts:
    """How it runs as a service of its own name. Credentials in `exports` are shown as their names."""

    port: int
    command: tuple[str, ...]
    volumes: dict[str, str]
    mounts: dict[str, str]  # path of the project → where it is seen
    health: str
    exports: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RecipeFacts:
    """A recipe. `own`: of the project; `shadows`: of the project, with the name of one that devbox ships.

    `versions` are the choices of its first parameter; `steps` one line for each layer, with the defaults.
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
    """A recipe by its name, as the project in `root` sees it ("" outside of projects)."""
    path = find(name, root)
    if path is None:
        known = list_names(root)
        raise UsageError(f"there is no recipe {name}{did_you_mean(name, known)}", remedy=f"known: {', '.join(known)}")
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
    """The tables to paste, with the first parameter written out."""
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
    """What is asked, in words."""
    probe = table.to_health(default_port=0)
    if probe.http:
        return f"GET {probe.http} on port {probe.port} succeeds"
    if probe.tcp:
        return f"port {probe.port} accepts connections"
    words = probe.command[2:] if probe.command[:2] == ("/bin/sh", "-c") else probe.command
    return f"`{' '.join(words)}` succeeds"


def build_tool_image(name: str, table: Mapping[str, object], *, root: str) -> ImageSpec:
    """The image of `table`, which is as `[tool.NAME]` would be written and has no `from`."""
    checked = ToolTable.model_validate(dict(table))
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
        image=lambda label: build_tool_image(label, table, root=root),
        where=lambda _: "",
    )
    return build_image(checked, name, context)
