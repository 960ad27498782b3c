"""Schema of the env file as plain data: `devbox config`, and the JSON Schema for editors."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from devbox.envfile import document
from devbox.envfile.document import Document
from devbox.envfile.load import EnvFile
from devbox.roles.catalog import TABLE_KINDS
from devbox.roles.fields import Model
from devbox.roles.role import Key


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
