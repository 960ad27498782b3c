"""Generator of the devbox.toml reference, `docs/reference/env-file.md`, and the names of its kinds of value.

Examples are lines of devbox.toml.example, which a test loads.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import PlainValidator
from pydantic.fields import FieldInfo

from devbox.envfile import document, gate_tables, read, schema, stage_tables
from devbox.envfile.document import Document, HooksTable, ProjectTable
from devbox.host.environ import find_data_dir
from devbox.roles import base, build, dev, fields, glue, install, network, parts, release, service, tasks, test, tool
from devbox.roles.catalog import TABLE_KINDS
from devbox.roles.fields import Model
from devbox.roles.role import Key

_HEAD = """\
# devbox.toml

Generated from the code by `make reference`; a test compares the two. The examples are from
[devbox.toml.example](../../devbox.toml.example), which shows every key in its place.

Unknown keys are errors. `${name}` in a string is a variable of `[vars]`, `$${name}` is literal. `devbox.local.toml`
next to the file (not committed) overrides by key; a list there replaces, `{ append = […] }` adds.
`devbox config --origin` shows where each value comes from.

For completion and checks in an editor: [editors](../how-to/editors.md).
"""

# Sections in order, with titles; roles that are not listed follow. Shared tables precede the roles that include them.
_LISTED: dict[type[Model], str] = {
    Document: "The file",
    ProjectTable: "[project]",
    parts.SourceTable: "Image source",
    parts.DockerfileTable: "dockerfile",
    parts.ImageParts: "Image contents",
    parts.RunParts: "Container settings",
    parts.LongRunningParts: "Long-running containers",
    network.HealthTable: "health",
    parts.LimitsTable: "limits",
    parts.IsolationTable: "isolation",
    parts.MountTable: "[[….mounts]]",
    base.BaseTable: "[base.NAME]",
    dev.DevTable: "[dev]",
    parts.SetupTable: "[dev.setup]",
    parts.WatchTable: "[[dev.watch]]",
    tasks.TaskTable: "[tasks]",
    service.ServiceTable: "[service.NAME]",
    tool.ToolTable: "[tool.NAME]",
    test.TestTable: "[test]",
    test.ReadyTable: "services_ready_from",
    test.MatrixTable: "[test.matrix]",
    build.BuildTable: "[build]",
    release.ImageTable: "[image]",
    release.ProcessTable: "[image.process.NAME]",
    install.InstallTable: "[install.NAME]",
    glue.GlueTable: "[glue.NAME]",
    stage_tables.StageTable: "[stage.NAME]",
    gate_tables.GateTable: "gates",
    **{table: f'gate "{name}"' for name, table in stage_tables.GATE_TABLES.items()},
    stage_tables.StrategyTable: "[stage.NAME.strategy]",
    stage_tables.WarmupTable: "strategy warmup",
    stage_tables.MetricTable: "strategy metrics",
    HooksTable: "[hooks]",
}
SECTIONS = _LISTED | {
    kind.table: f"[{kind.name}.NAME]" if kind.named else f"[{kind.name}]"
    for kind in TABLE_KINDS
    if kind.table not in _LISTED
}
# Name of each parser's values in the reference.
KINDS: dict[Callable[..., Any], str] = {
    fields.parse_text: "string",
    fields.parse_strings: "list of strings",
    fields.parse_text_table: "table of strings",
    fields.parse_environment: "variables",
    fields.parse_secrets: "secrets",
    fields.parse_command: "command",
    fields.parse_commands: "commands",
    fields.parse_duration: "duration",
    fields.parse_size: "size",
    fields.parse_whole: "integer",
    fields.parse_number: "number",
    fields.parse_signal: "signal",
    fields.parse_path: "absolute path",
    fields.parse_user: "user",
    fields.parse_packages: "packages",
    fields.parse_inner_path: "project path",
    fields.parse_inner_paths: "project paths",
    fields.parse_capabilities: "capabilities",
    fields.parse_egress: "host names",
    fields.parse_named_paths: "named paths",
    network.parse_ports: "ports",
    network.parse_needs: "needs",
    parts.parse_action: "action",
    test.parse_axis: "axis",
    test.parse_cells: "cells",
    glue.parse_routes: "routes",
    glue.parse_schedule: "schedule",
    install.parse_installed: "files",
    release.parse_copies: "copies",
    stage_tables.parse_external: "external needs",
    stage_tables.parse_cohort: "cohort",
    stage_tables.parse_reference: "reference",
    document.parse_project_name: "project name",
    document.parse_requires: "version bounds",
}

_SCHEMA = re.compile(r"Schema of `[^`]*`\.\s*")
# A TOML value on one line: string, list, inline table or bare word.
_VALUE = r"""(?:"(?:[^"\\]|\\.)*"|\[(?:[^\[\]]|\[[^\[\]]*\])*\]|\{(?:[^{}]|\{[^{}]*\})*\}|[\w.+-]+)"""


def render_manual() -> str:
    """Return the whole page."""
    examples = _Examples(_read_example_file())
    sections = [_render_section(table, title, examples) for table, title in SECTIONS.items()]
    return "\n".join([_HEAD, *("\n".join(section) for section in sections), *_render_kinds()]) + "\n"


def _render_section(table: type[Model], title: str, examples: _Examples) -> Iterator[str]:
    yield f"## {title}\n"
    if about := _SCHEMA.sub("", inspect.cleandoc(table.__doc__ or "")):
        yield f"{about}\n"
    shared = [each for each in schema.list_table_parts(table)[:-1] if each in SECTIONS]
    if shared:
        yield f"Also accepts the keys of {', '.join(_render_link(each) for each in shared)}.\n"
    texts = schema.describe_keys(table)
    for name in _list_own_keys(table, shared):
        yield _render_key(table, name, texts, examples)
    yield ""


def _render_key(table: type[Model], name: str, texts: dict[str, str], examples: _Examples) -> str:
    info = table.model_fields[name]
    written = info.alias or name
    kind = _describe_kind(info, _render_link)
    facts = ", ".join(fact for fact in (kind, _describe_default(info, kind)) if fact)
    example = "" if kind.startswith("`") else examples.find(table, written)
    shown = f"\n  `{example}`" if example else ""
    return f"- **`{written}`** ({facts}): {texts[written]}{shown}"


def _describe_kind(info: FieldInfo, link: Callable[[type[Model]], str]) -> str:
    """Return the kind of a key's value. `link` renders a link to a table's section."""
    return _describe_annotation(
        Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation, link
    )


def _describe_default(info: FieldInfo, kind: str) -> str:
    """Return the default of a key; "" if there is none worth mentioning."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", (), {}) or isinstance(value, Model):
        return ""
    if kind == "duration":
        return f'default `"{value:g}s"`'
    return f"default `{json.dumps(value)}`"


def _describe_annotation(annotation: Any, link: Callable[[type[Model]], str]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        named = [KINDS[each.func] for each in arguments[1:] if isinstance(each, PlainValidator)]
        return named[0] if named else _describe_annotation(arguments[0], link)
    if origin in (tuple, dict):
        whole = "list" if origin is tuple else "table"
        return f"{whole} of {_pluralize(_describe_annotation(arguments[0 if origin is tuple else 1], link))}"
    if arguments:
        each = (
            f"`{json.dumps(one)}`" if origin is Literal else _describe_annotation(one, link)
            for one in arguments
            if one is not NoneType
        )
        return " or ".join(each)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return link(annotation)
    return {bool: "`true` or `false`", str: "string"}[annotation]


def _pluralize(kind: str) -> str:
    return kind if kind.endswith((")", "s")) else f"{kind}s"


def _list_own_keys(table: type[Model], shared: Collection[type[Model]] = ()) -> list[str]:
    """Return the attributes defined by a table itself, or by its parts except for those `shared`."""
    parts = [part for part in schema.list_table_parts(table) if part not in shared]
    own = {name for part in parts for name in schema._read_texts(part)}
    return [name for name in table.model_fields if name in own]


def _render_kinds() -> Iterator[str]:
    yield "## Value types\n"
    for parser, name in KINDS.items():
        text = " ".join(inspect.cleandoc(parser.__doc__ or "").split())
        yield f"- **{name}**: {text}"


def _render_link(table: type[Model]) -> str:
    title = SECTIONS[table]
    anchor = re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
    return f"[{title.strip('[]')}](#{anchor})"


def _read_example_file() -> str:
    path = os.path.join(os.path.dirname(find_data_dir("templates")), "devbox.toml.example")
    with open(path, encoding="utf-8") as source:
        return source.read()


class _Examples:
    """Lines of the example file by table and key."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._index = read.index(text)

    def find(self, table: type[Model], key: str) -> str:
        """Return the example for a key of a table; "" if it spans several lines."""
        setting = re.compile(rf"(?<![\w-]){key}\s*=\s*{_VALUE}")
        places = (line for path, line in self._index.items() if path[-1] == key and table in _find_tables(path[:-1]))
        found = (setting.search(_strip_comment(self._lines[line - 1])) for line in places)
        return next((match[0] for match in found if match), "")


def _find_tables(path: Key) -> set[type[Model]]:
    """Return the tables whose keys are valid at `path`, with their parent tables."""
    found: list[type[Model]] = [Document]
    for part in path:
        inner = [info for table in found for name, info in table.model_fields.items() if (info.alias or name) == part]
        if inner:  # otherwise a table name or item index
            found = [table for info in inner for table in schema.find_tables(info.annotation)]
    return {part for table in found for part in schema.list_table_parts(table)}


def _strip_comment(line: str) -> str:
    """Return the line without its comment and trailing comma."""
    match = re.match(r"""((?:[^#"']|"(?:[^"\\]|\\.)*"|'[^']*')*)""", line)
    return (match[1] if match else line).strip().rstrip(",")
