"""Generator of the recipe reference: `docs/reference/recipes.md`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from devbox.envfile import recipes
from devbox.envfile.recipes import ParameterFacts, RecipeFacts, ServiceFacts

_HEAD = """\
# Recipes

Generated from `recipes/*.toml` by `make reference`; a test compares the two. `devbox recipe ls` and
`devbox recipe show NAME` print the same, including the recipes of your project: a file NAME.toml in `recipes/` next to
`devbox.toml` is a recipe, and overrides one of the same name: [Write a recipe of your own](../how-to/own-recipe.md).

A recipe is used by `recipe = "NAME"`, its parameters are set by `with`:
"""


def render_manual() -> str:
    """Return the whole page."""
    found = [recipes.describe_recipe(name, "") for name in sorted(recipes.list_shipped())]
    parts = [_HEAD, "| Recipe | Description | Versions |", "|---|---|---|"]
    parts += [f"| [{each.name}](#{each.name}) | {each.description} | {', '.join(each.versions)} |" for each in found]
    for each in found:
        parts += _render_section(each)
    return "\n".join(parts) + "\n"


def _render_section(found: RecipeFacts) -> Iterator[str]:
    yield from ("", f"## {found.name}", "", f"{found.description}.", "", "```toml")
    yield recipes.render_example(found)
    yield from ("```", "", "| Parameter | Default | Meaning |", "|---|---|---|")
    yield from (_render_parameter(each) for each in found.parameters)
    yield from ("", f"Layers: {'; '.join(found.steps)}.")
    if found.service:
        yield from _render_service(found.service)
    if found.tool:
        yield from ("", f"As a tool: {_render_code(shlex.join(found.tool))}.")


def _render_parameter(each: ParameterFacts) -> str:
    default = "must be set" if each.default is None else _render_code(each.default) if each.default else "none"
    choices = f": {', '.join(each.choices)}" if each.choices else ""
    return f"| `{each.name}` | {default} | {each.description}{choices} |"


def _render_service(service: ServiceFacts) -> Iterator[str]:
    kept = [f"{_render_code(target)} (volume `{name}`)" for name, target in service.volumes.items()]
    seen = [
        f"{_render_code(source)} of the project at {_render_code(target)}" for source, target in service.mounts.items()
    ]
    facts = [f"port {service.port}", *(f"data in {each}" for each in kept), *(f"reads {each}" for each in seen)]
    yield from ("", f"As a service: {', '.join(facts)}; healthy when {service.health}. Exports:", "")
    yield from _render_table(service.exports.items())


def _render_table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from ("| Variable | Value for a service of this name |", "|---|---|")
    yield from (f"| `{name}` | {_render_code(value)} |" for name, value in rows)


def _render_code(text: str) -> str:
    return f"`{text}`"
