"""A minimal devbox.toml from recipes, and changes to that of a template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from devbox.convert.detect import ProjectKind
from devbox.envfile.recipes import ParameterFacts, RecipeFacts, describe_recipe, list_shipped
from devbox.errors import UsageError
from devbox.model.frozen import dataclass
from devbox.roles.fields import did_you_mean

_HEAD = "# The containers of this project. `devbox plan` shows what `devbox up` would do, and why."
_COMMENT_AT = 32  # column of the comments, as in the templates
_DEFAULT_PORT = 8000


@dataclass(frozen=True, kw_only=True)
class RecipeChoice:
    """A recipe and the value of its first parameter, usually a version; "" if it has none."""

    facts: RecipeFacts
    version: str

    @property
    def parameter(self) -> ParameterFacts | None:
        """The first parameter."""
        return next(iter(self.facts.parameters), None)


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """Contents of a new devbox.toml. `name` "": that of the directory; `port` 0: none."""

    dev: RecipeChoice
    services: tuple[RecipeChoice, ...] = ()
    kind: ProjectKind | None = None
    name: str = ""
    port: int = 0


def choose_recipe(facts: RecipeFacts, version: str = "") -> RecipeChoice:
    """Return a recipe with a version (default: the recipe's)."""
    return RecipeChoice(facts=facts, version=version or next((each.default or "" for each in facts.parameters), ""))


def check_services(names: Sequence[str]) -> None:
    """UsageError if a name is not a recipe: its remedy lists the recipes of services only."""
    shipped = list_shipped()
    for name in names:
        if name not in shipped:
            known = [each for each in sorted(shipped) if describe_recipe(each, "").service is not None]
            raise UsageError(
                f"service recipe {name} not found{did_you_mean(name, known)}", remedy=f"known: {', '.join(known)}"
            )


def choose_services(found: Sequence[RecipeFacts]) -> tuple[RecipeChoice, ...]:
    """Return services in their default versions. UsageError if one is not a service, or two export the same name."""
    exported: dict[str, str] = {}
    for facts in found:
        if facts.service is None:
            raise UsageError(f"the recipe {facts.name} is not a service", remedy="devbox recipe ls")
        for name in facts.service.exports:
            if other := exported.get(name):
                raise UsageError(
                    f"{other} and {facts.name} both export {name}",
                    remedy=f"add {facts.name} later, with renamed exports: {facts.name} = {{ {name} = … }} in needs",
                )
            exported[name] = facts.name
    return tuple(choose_recipe(facts) for facts in found)


def render_file(scaffold: Scaffold) -> str:
    """Return the text of devbox.toml."""
    return "\n".join(_format_file(scaffold)) + "\n"


def _format_file(scaffold: Scaffold) -> Iterator[str]:
    yield from (_HEAD, "")
    if scaffold.name:
        yield from ("[project]", f"name = {_quote(scaffold.name)}", "")
    yield "[dev]"
    yield from _format_recipe(scaffold.dev)
    yield from _format_dev(scaffold, scaffold.kind)
    for service in scaffold.services:
        yield from ("", f"[service.{service.facts.name}]")
        yield from _format_recipe(service)


def _format_recipe(choice: RecipeChoice) -> Iterator[str]:
    yield f"recipe = {_quote(choice.facts.name)}"
    if (parameter := choice.parameter) and choice.version:
        others = ", ".join(each for each in parameter.choices if each != choice.version)
        yield _comment(f"with = {{ {parameter.name} = {_quote(choice.version)} }}", f"or {others}" if others else "")


def _format_dev(scaffold: Scaffold, kind: ProjectKind | None) -> Iterator[str]:
    if kind and kind.packages:
        yield _comment(f"packages = {_list(kind.packages)}", "of the distribution")
    else:
        yield _comment('# packages = ["git"]', "packages of the distribution")
    if scaffold.services:
        exports = [
            name for each in scaffold.services if each.facts.service for name in [*each.facts.service.exports][:1]
        ]
        set_names = f"; sets {', '.join(exports)}" if exports else ""
        yield _comment(
            f"needs = {_list([each.facts.name for each in scaffold.services])}", f"ready before dev starts{set_names}"
        )
    port, mark = scaffold.port or (kind and kind.port) or _DEFAULT_PORT, "" if scaffold.port else "# "
    yield _comment(f"{mark}ports = [{port}]", "ports of the application; `devbox open` prints its address")
    command = kind.command if kind else ""
    yield _comment(
        f"command = {_quote(command)}" if command else '# command = "…"', "the application; `devbox logs dev`"
    )
    if kind and kind.setup:
        yield from ("", _comment("[dev.setup]", "runs again only when one of the inputs changes"))
        yield from (f"run = {_list([kind.setup])}", f"inputs = {_list(kind.inputs)}")
    if kind and kind.test:
        yield from ("", _comment("[tasks]", "devbox run test"), f"test = {_quote(kind.test)}")


def _comment(text: str, comment: str) -> str:
    return f"{text.ljust(_COMMENT_AT - 1)} # {comment}" if comment else text


def _quote(text: str) -> str:
    """Return a TOML string: JSON's, for the names and commands used here."""
    return json.dumps(text, ensure_ascii=False)


def _list(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_quote, items))}]"


def replace_variable(text: str, name: str, value: str) -> str:
    """Set a variable of `[vars]` in the text of a template, which has it on a line of its own."""
    head, table, rest = text.partition("\n[vars]")
    body, end, tail = rest.partition("\n[")
    line = re.compile(rf'^({re.escape(name)} = )"[^"\n]*"', re.MULTILINE)
    return f"{head}{table}{line.sub(lambda found: found[1] + _quote(value), body, count=1)}{end}{tail}"


def fix_port(text: str, port: int, host_port: int) -> str:
    """Publish the port of dev on a fixed port of the host."""
    head, table, rest = text.partition("\n[dev]")
    return f'{head}{table}{rest.replace(f"ports = [{port}]", f"""ports = ["{host_port}:{port}"]""", 1)}'


def append_name(text: str, name: str) -> str:
    """Add `[project]` with a name at the end."""
    return f"{text}\n[project]\nname = {_quote(name)}\n"
