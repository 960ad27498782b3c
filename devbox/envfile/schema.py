"""Schema of the env file as plain data: `devbox config`, and the JSON Schema for editors."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Collection, Iterator
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import PlainValidator
from pydantic.fields import FieldInfo

from devbox.envfile import document, stage_tables
from devbox.envfile.document import Document
from devbox.envfile.load import EnvFile
from devbox.roles import fields, glue, install, network, parts, release, test
from devbox.roles.catalog import TABLE_KINDS
from devbox.roles.context import Key
from devbox.roles.fields import Model

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
    fields.parse_whole: "whole number",
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


def describe_kind(info: FieldInfo, link: Callable[[type[Model]], str]) -> str:
    """Return the kind of a key's value. `link` renders a link to a table's section."""
    return _describe_annotation(
        Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation, link
    )


def describe_default(info: FieldInfo, kind: str) -> str:
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


def list_tables(table: type[Model]) -> list[type[Model]]:
    """Return all tables reachable from `table`, itself first, each once."""
    found = [table]
    for each in found:
        for field in each.model_fields.values():
            found += [inner for inner in dict.fromkeys(find_tables(field.annotation)) if inner not in found]
    return found


def list_table_parts(table: type[Model]) -> list[type[Model]]:
    """Return the tables that a table inherits keys from, itself last."""
    return [each for each in reversed(table.__mro__) if issubclass(each, Model) and each is not Model]


def describe_keys(table: type[Model]) -> dict[str, str]:
    """Return the description of each key, inherited keys included."""
    texts = {name: text for part in list_table_parts(table) for name, text in _read_texts(part).items()}
    return {info.alias or name: texts[name] for name, info in table.model_fields.items()}


def list_own_keys(table: type[Model], shared: Collection[type[Model]] = ()) -> list[str]:
    """Return the attributes defined by a table itself, or by its parts except for those `shared`."""
    parts = [part for part in list_table_parts(table) if part not in shared]
    own = {name for part in parts for name in _read_texts(part)}
    return [name for name in table.model_fields if name in own]


@cache
def _read_texts(table: type[Model]) -> dict[str, str]:
    """Return the docstring below each attribute of the class, or the text of each table kind."""
    if table is document.RoleTables:
        return {kind.name: kind.about for kind in TABLE_KINDS}
    body = ast.parse(textwrap.dedent(inspect.getsource(table))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    found = {}
    for before, after in pairwise(statements):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def find_tables(annotation: Any) -> Iterator[type[Model]]:
    """Yield the tables in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from find_tables(argument)


SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def describe(env: EnvFile) -> dict[str, Any]:
    """Return the file's values with variables and local overrides applied, without defaults except the name."""
    values = env.document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {"project": {**values.pop("project", {}), "name": env.name}, **values}


def list_origins(env: EnvFile) -> dict[str, str]:
    """Return the `file:line` or "default" of every value of `describe`, by dotted key."""
    found = {".".join(map(str, key)): env.locate(key) for key, _ in _list_leaves(describe(env), ())}
    return found if env.document.project.name else {**found, "project.name": "default"}


def build_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of devbox.toml, with a description of each key."""
    schema = {"$schema": SCHEMA_DIALECT, **Document.model_json_schema(by_alias=True), "title": "devbox.toml"}
    for table in list_tables(Document):
        place = schema if table is Document else schema["$defs"].get(table.__name__, {})
        properties = place.get("properties") or _find_alternative(place)
        for key, text in describe_keys(table).items():
            properties[key]["description"] = text
    return schema


def _find_alternative(place: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a table that also has a short form."""
    alternatives = [each["properties"] for each in place.get("anyOf", ()) if "properties" in each]
    return alternatives[0] if alternatives else {}


def _list_leaves(values: dict[str, Any], key: Key) -> list[tuple[Key, Any]]:
    found: list[tuple[Key, Any]] = []
    for name, value in values.items():
        here = (*key, name)
        found += _list_leaves(value, here) if isinstance(value, dict) and value else [(here, value)]
    return found
