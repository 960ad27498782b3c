"""devbox.toml.example shows every key, and the normative example loads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from devbox.envfile import schema
from devbox.envfile.document import Document
from devbox.envfile.load import load

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))


def tables(value: Any) -> Iterator[BaseModel]:
    """Every table inside a model, itself included."""
    if isinstance(value, BaseModel):
        yield value
        for name in value.model_fields_set:
            yield from tables(getattr(value, name))
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tables(item)


def test_the_example_shows_every_key():
    shown: dict[type, set[str]] = {}
    for table in tables(load(ROOT, file="devbox.toml.example").document):
        for kind in type(table).__mro__:
            shown.setdefault(kind, set()).update(table.model_fields_set)
    own = {kind: set(vars(kind).get("__annotations__", {})) for kind in shown if issubclass(kind, BaseModel)}
    fields = {schema: {name for name in names if name in schema.model_fields} for schema, names in own.items()}
    assert {f"{schema.__name__}.{name}" for schema in fields for name in fields[schema] - shown[schema]} == set()


def test_every_kind_of_table_is_in_the_example():
    shown = {type(table).__name__ for table in tables(load(ROOT, file="devbox.toml.example").document)}
    assert set(schema.build_json_schema()["$defs"]) - shown == set()


def test_the_normative_example_loads():
    env = load(HERE, file="normative.toml")
    assert list(env.document.stage) == ["test", "staging", "gray", "production"]


def test_the_schema_knows_every_table_and_is_json():
    document = json.loads(json.dumps(schema.build_json_schema()))
    assert document["properties"].keys() == {info.alias or name for name, info in Document.model_fields.items()}
    assert document["additionalProperties"] is False
