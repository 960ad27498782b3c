"""`recipe ls` and `recipe show`: available recipes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator

from devbox.cli import output, terminal
from devbox.cli.output import align_columns
from devbox.commands.table.options import Args
from devbox.envfile import recipes
from devbox.envfile.recipes import ParameterFacts, RecipeFacts, ServiceFacts
from devbox.errors import EnvFileError, UsageError
from devbox.host import project
from devbox.model import codec

_HEAD = ("NAME", "VERSIONS", "DESCRIPTION")
_WIDEST = 24  # of the versions in a list
_INDENT = 2


def ls(args: Args) -> int:
    """Print every recipe on one line; an unreadable one of the project with its error."""
    root = _find_root(args)
    found = [_summarize(name, root) for name in recipes.list_names(root)]
    if args.get_flag("json"):
        return output.print_document(found)
    rows = [(str(each["name"]), _shorten_versions(each["versions"]), _describe_row(each)) for each in found]
    output.print_table(_HEAD, rows)
    return 0


def show(args: Args) -> int:
    """Print one recipe."""
    name = args.get_text("name")
    if not name:
        raise UsageError("missing argument: NAME", remedy="devbox recipe ls")
    found = recipes.describe_recipe(name, _find_root(args))
    if args.get_flag("json"):
        return output.print_document(codec.dump(found))
    color = terminal.has_color(sys.stdout)
    for line in format_page(found, width=output.find_data_width()):
        title = bool(line) and not line.startswith(" ")
        terminal.print_line(terminal.paint(line, "bold", when=color and title), stream=sys.stdout)
    return 0


def format_page(found: RecipeFacts, *, width: int = 0) -> Iterator[str]:
    """Format a recipe, in lines of at most `width` columns if given."""
    inner = max(width - _INDENT, 0)
    yield f"{found.name}: {found.description}"
    yield f"  {_describe_origin(found)}"
    yield from _format_section(
        "Parameters", align_columns((_format_parameter(each) for each in found.parameters), width=inner)
    )
    yield from _format_section("Image", found.steps)
    if found.service:
        yield from _format_section("Service", align_columns(_format_service(found.service), width=inner))
        yield from _format_section("Exports", align_columns(found.service.exports.items()))
    if found.tool:
        yield from _format_section("Tool", [shlex.join(found.tool)])
    yield from _format_section("Example", recipes.render_example(found).split("\n"))


def _find_root(args: Args) -> str:
    """Return the project root; "" outside projects, where only shipped recipes are available."""
    try:
        return project.find(args.get_text("directory") or ".", file=args.get_text("file") or None)[0]
    except UsageError:
        if args.get_text("file") or not os.path.isdir(args.get_text("directory") or "."):
            raise
        return ""


def _summarize(name: str, root: str) -> dict[str, object]:
    try:
        found = recipes.describe_recipe(name, root)
    except EnvFileError as error:
        return {"name": name, "versions": [], "default": None, "description": "", "own": True, "error": error.sentence}
    return {
        "name": name,
        "versions": list(found.versions),
        "default": found.parameters[0].default if found.parameters else None,
        "description": found.description,
        "own": found.own,
        "shadows": found.shadows,
        "service": found.service is not None,
        "tool": bool(found.tool),
    }


def _describe_row(row: dict[str, object]) -> str:
    if error := row.get("error"):
        return f"✗ {error}"
    mark = " (yours, overrides the shipped recipe)" if row["shadows"] else " (yours)" if row["own"] else ""
    return f"{row['description']}{mark}"


def _shorten_versions(versions: object) -> str:
    """Shorten long version lists to `16 … 26`."""
    names = [str(version) for version in versions] if isinstance(versions, list) else []
    text = " ".join(names)
    return text if len(text) <= _WIDEST else f"{names[0]} … {names[-1]}"


def _describe_origin(found: RecipeFacts) -> str:
    if not found.own:
        return "shipped with devbox"
    return f"of this project: {found.file}{', overrides the shipped recipe' if found.shadows else ''}"


def _format_section(title: str, lines: Iterable[str]) -> Iterator[str]:
    shown = list(lines)
    if shown:
        yield from ("", title, *(f"{' ' * _INDENT}{line}".rstrip() for line in shown))


def _format_parameter(each: ParameterFacts) -> tuple[str, str, str]:
    default = "must be set" if each.default is None else f'"{each.default}"'
    choices = f" ({', '.join(each.choices)})" if each.choices else ""
    return each.name, default, f"{each.description}{choices}"


def _format_service(service: ServiceFacts) -> list[tuple[str, str]]:
    volumes = [("volume", f"{name} at {target}") for name, target in service.volumes.items()]
    mounts = [("mounts", f"{source} of the project at {target}") for source, target in service.mounts.items()]
    return [("port", str(service.port)), *volumes, *mounts, ("healthy", f"when {service.health}")]
