"""The file as devbox understands it, as plain values: `devbox config`, and the JSON Schema for editors."""

from __future__ import annotations

from typing import Any

from devbox.envfile import meaning
from devbox.envfile.document import Document
from devbox.envfile.load import EnvFile
from devbox.roles.context import Key

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def describe(env: EnvFile) -> dict[str, Any]:
    """What the file says, variables filled and the local file merged. Defaults are left out, but for the name."""
    values = env.document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {"project": {**values.pop("project", {}), "name": env.name}, **values}


def origins(env: EnvFile) -> dict[str, str]:
    """For every value of `describe`, by its dotted key, the `file:line` it comes from, or "default"."""
    found = {".".join(map(str, key)): env.where(key) for key, _ in _leaves(describe(env), ())}
    return found if env.document.project.name else {**found, "project.name": "default"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of devbox.toml, every key with what it means."""
    schema = {"$schema": SCHEMA_DIALECT, **Document.model_json_schema(by_alias=True), "title": "devbox.toml"}
    for table in meaning.tables(Document):
        place = schema if table is Document else schema["$defs"].get(table.__name__, {})
        properties = place.get("properties") or _in_alternatives(place)
        for key, text in meaning.of_every_key(table).items():
            properties[key]["description"] = text
    return schema


def _in_alternatives(place: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table that may also be written as something shorter."""
    alternatives = [each["properties"] for each in place.get("anyOf", ()) if "properties" in each]
    return alternatives[0] if alternatives else {}


def _leaves(values: dict[str, Any], key: Key) -> list[tuple[Key, Any]]:
    found: list[tuple[Key, Any]] = []
    for name, value in values.items():
        here = (*key, name)
        found += _leaves(value, here) if isinstance(value, dict) and value else [(here, value)]
    return found
