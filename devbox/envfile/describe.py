"""The file as devbox understands it, as plain values: `devbox config`, and the JSON Schema for editors."""

from __future__ import annotations

from typing import Any

from devbox.envfile.document import Document
from devbox.envfile.load import EnvFile

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def describe(env: EnvFile) -> dict[str, Any]:
    """What the file says, variables filled and the local file merged. Defaults are left out, but for the name."""
    values = env.document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {"project": {**values.pop("project", {}), "name": env.name}, **values}


def origins(env: EnvFile) -> dict[str, str]:
    """`dev.packages` → the `file:line` that says so."""
    return {".".join(str(part) for part in key): where for key, where in env.origins.items()}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of devbox.toml."""
    return {"$schema": SCHEMA_DIALECT, **Document.model_json_schema(by_alias=True), "title": "devbox.toml"}
