"""Questions of `init` on a terminal. Nothing is written before all of them are answered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from devbox.cli import output, terminal
from devbox.convert import scaffold
from devbox.convert.detect import ProjectKind
from devbox.convert.scaffold import RecipeChoice, Scaffold
from devbox.envfile import recipes
from devbox.envfile.recipes import RecipeFacts
from devbox.errors import UsageError
from devbox.roles.fields import did_you_mean

_NONE = "none"
_LAST_PORT = 65535
AnswerT = TypeVar("AnswerT")


class Choices:
    """What can be chosen: templates with their descriptions, recipes of languages and systems, and of services."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        self.templates = templates
        found = [recipes.describe_recipe(name, "") for name in sorted(recipes.list_shipped())]
        self.recipes = {facts.name: facts for facts in found if facts.service is None}
        self.services = {facts.name: facts for facts in found if facts.service is not None}


def ask_start(choices: Choices, kind: ProjectKind | None, *, default: str) -> str:
    """Ask for a template or a recipe; return its name."""
    rows = [(f"  {name}", about) for name, about in choices.templates.items()]
    _print_rows([*rows, ("or a recipe:", ", ".join(choices.recipes))])
    if kind:
        terminal.print_line(f"· found {kind.file}: recipe {kind.recipe}")
    known = [*choices.templates, *choices.recipes]
    return _ask("Template or recipe", default=kind.recipe if kind else default, parse=partial(_find, known=known))


def ask_scaffold(choices: Choices, recipe: str, kind: ProjectKind | None, *, name: str) -> Scaffold:
    """Ask for versions, services, port and name of a project without a template."""
    kind = kind if kind and kind.recipe == recipe else None
    dev = _ask_version(choices.recipes[recipe])

    def parse_services(text: str) -> tuple[RecipeChoice, ...]:
        names = [] if text == _NONE else text.replace(",", " ").split()
        return scaffold.choose_services([choices.services[_find(each, [*choices.services])] for each in names])

    _print_rows([("Services:", ", ".join(choices.services))])
    chosen = _ask("Services, separated by spaces", default=_NONE, parse=parse_services)
    services = tuple(_ask_version(each.facts) for each in chosen)
    default = str(kind.port) if kind and kind.port else _NONE
    port = _ask("Port of the application", default=default, parse=_parse_port)
    return Scaffold(dev=dev, services=services, kind=kind, port=port, name=_ask_name(name))


def ask_template(text: str, *, name: str) -> str:
    """Ask for versions, port and name of a template with this devbox.toml; return the changed text."""
    import tomllib

    document = tomllib.loads(text)
    for variable, value in document.get("vars", {}).items():
        known = _list_versions(document, variable)
        answer = _ask(_label(f"Value of {variable}", known), default=str(value), parse=partial(_find, known=known))
        text = scaffold.replace_variable(text, variable, answer) if answer != str(value) else text
    for port in [port for port in document.get("dev", {}).get("ports", ()) if isinstance(port, int)]:
        fixed = _ask(
            f"Port of the host for port {port} of dev",
            default="any",
            parse=partial(_parse_port, none="any"),
        )
        text = scaffold.fix_port(text, port, fixed) if fixed else text
    chosen = _ask_name(name)
    return scaffold.append_name(text, chosen) if chosen else text


def _list_versions(document: Mapping[str, Any], variable: str) -> tuple[str, ...]:
    """Return the choices of the recipe whose version is the variable; none if no recipe uses it."""
    tables = [table for group in ("base", "service", "tool") for table in document.get(group, {}).values()]
    for table in [document.get("dev", {}), *tables]:
        if table.get("with", {}).get("version") == f"${{{variable}}}" and "recipe" in table:
            return recipes.describe_recipe(table["recipe"], "").versions
    return ()


def _ask_version(facts: RecipeFacts) -> RecipeChoice:
    choice = scaffold.choose_recipe(facts)
    if (parameter := choice.parameter) is None or not choice.version or not parameter.choices:
        return choice
    label = _label(f"{parameter.name.capitalize()} of {facts.name}", parameter.choices)
    version = _ask(label, default=choice.version, parse=partial(_find, known=parameter.choices))
    return scaffold.choose_recipe(facts, version)


def _ask_name(default: str) -> str:
    """Return the name of the project; "" if it is that of the directory."""
    from devbox.envfile.document import parse_project_name

    answer: str = _ask("Name of the project", default=default, parse=parse_project_name)
    return "" if answer == default else answer


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Print rows on stderr; the second column is wrapped in place."""
    for line in output.align_columns(rows, width=terminal.get_width(sys.stderr)):
        terminal.print_line(line)


def _label(label: str, known: Sequence[str]) -> str:
    return f"{label} ({', '.join(known)})" if known else label


def _find(text: str, known: Sequence[str]) -> str:
    """Return the text if it is known, or nothing is known. ValueError otherwise."""
    if known and text not in known:
        raise ValueError(f"{text} not found{did_you_mean(text, known)}")
    return text


def _parse_port(text: str, *, none: str = _NONE) -> int:
    """Return a port, 0 for `none`. ValueError for anything else."""
    if text == none:
        return 0
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _LAST_PORT:
        raise ValueError(f'expected 1 to {_LAST_PORT} or "{none}", got {text!r}')
    return int(text)


def _ask(label: str, *, default: str, parse: Callable[[str], AnswerT]) -> AnswerT:
    """Ask until the answer is valid; Enter accepts the default. KeyboardInterrupt at the end of the input."""
    while True:
        sys.stderr.write(f"{label} [{default}]: ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        try:
            return parse(line.strip() or default)
        except (UsageError, ValueError) as error:
            terminal.print_line(f"  {error}")
