"""What there is to know of a recipe before using it: for `devbox recipe` and the reference page."""

from __future__ import annotations

from devbox.envfile import recipes
from devbox.errors import UsageError
from devbox.frozen import dataclass
from devbox.host.data import data_dir
from devbox.model.image import describe
from devbox.roles.network import HealthTable
from devbox.roles.recipes import Parameter, ServicePart, Use, sample
from devbox.roles.suggest import did_you_mean


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


def facts(name: str, root: str) -> RecipeFacts:
    """A recipe by its name, as the project in `root` sees it ("" outside of projects)."""
    path = recipes.find(name, root)
    if path is None:
        known = recipes.known(root)
        raise UsageError(f"there is no recipe {name}{did_you_mean(name, known)}", remedy=f"known: {', '.join(known)}")
    own = not path.startswith(f"{data_dir('recipes')}/")
    recipe = recipes.load(path)
    use = sample(name, recipe, where=f"recipes/{name}.toml:1")
    service, tool = use.service(host=name, credentials={key: f"<{key}>" for key in recipe.credentials}), use.tool()
    return RecipeFacts(
        name=name,
        description=recipe.description,
        file=path,
        own=own,
        shadows=own and name in recipes.shipped(),
        versions=next((parameter.choices for parameter in recipe.parameters.values()), ()),
        parameters=tuple(_parameter(key, parameter) for key, parameter in recipe.parameters.items()),
        steps=tuple(describe(step) for step in use.image()[0]),
        service=_service(service, use) if service else None,
        tool=tool.command if tool else (),
    )


def example(found: RecipeFacts) -> str:
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


def _parameter(name: str, parameter: Parameter) -> ParameterFacts:
    return ParameterFacts(
        name=name, description=parameter.description, default=parameter.default, choices=parameter.choices
    )


def _service(part: ServicePart, use: Use) -> ServiceFacts:
    return ServiceFacts(
        port=part.port,
        command=part.command,
        volumes=part.volumes,
        mounts={item.source: item.target for item in use.mounts()},
        health=_health(part.health) if part.health else "none",
        exports=part.exports,
    )


def _health(table: HealthTable) -> str:
    """What is asked, in words."""
    probe = table.probe(default_port=0)
    if probe.http:
        return f"GET {probe.http} on port {probe.port} succeeds"
    if probe.tcp:
        return f"port {probe.port} accepts connections"
    words = probe.command[2:] if probe.command[:2] == ("/bin/sh", "-c") else probe.command
    return f"`{' '.join(words)}` succeeds"
