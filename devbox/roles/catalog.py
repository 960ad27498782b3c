"""Catalog of roles. A new role requires one file, and one line here (ADR 93)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from devbox.roles.role import Role, TableKind

# Modules of this package with their kind of table, in the order of the schema; tasks are not a role: no containers.
_KINDS = (
    "base:ROLE",
    "dev:ROLE",
    "tasks:KIND",
    "tool:ROLE",
    "test:ROLE",
    "build:ROLE",
    "release:ROLE",
    "install:ROLE",
    "service:ROLE",
    "glue:ROLE",
)


def _load_kind(place: str) -> TableKind[Any]:
    module, _, name = place.partition(":")
    found = getattr(import_module(f"devbox.roles.{module}"), name)
    if not isinstance(found, TableKind):
        raise TypeError(f"{place} is not a kind of table")
    return found


TABLE_KINDS = tuple(map(_load_kind, _KINDS))

# In order of precedence for short names: `db` is [service.db] even if there is a [tool.db].
ROLES: tuple[Role[Any], ...] = tuple(
    sorted((kind for kind in TABLE_KINDS if isinstance(kind, Role)), key=lambda role: (role.start, role.shared))
)
_BY_NAME = {role.name: role for role in ROLES}


def find_role(label: str) -> Role[Any]:
    """Return the role of a label, such as "dev" or "service.db"."""
    return _BY_NAME[label.partition(".")[0]]
