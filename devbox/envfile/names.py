"""How names written in the file find their tables."""

from __future__ import annotations

from collections.abc import Iterable

from devbox.envfile.document import Document
from devbox.roles.catalog import ROLES

_ROLE = {role.name: role for role in ROLES}


def role_of(label: str) -> str:
    """The role of a table's label."""
    return label.partition(".")[0]


def container_names(document: Document) -> dict[str, str]:
    """Label → container name: the last part, or the whole label where another role has claimed that."""
    names: dict[str, str] = {}
    for label in document.tables():
        short = label.rpartition(".")[2]
        names[label] = label if short in names.values() and role_of(label) != "base" else short
    return names


def sources(document: Document) -> dict[str, str]:
    """What may stand in `from` → label. A base's short name comes before that of any other role."""
    labels = [label for label in document.tables() if _ROLE[role_of(label)].source]
    return _by_name(sorted(labels, key=lambda label: role_of(label) != "base"))


def needable(document: Document) -> dict[str, str]:
    """What may stand in `needs` → label."""
    return _by_name([label for label in document.tables() if _ROLE[role_of(label)].needed])


def _by_name(labels: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label in labels:
        found.setdefault(label.rpartition(".")[2], label)
        found.setdefault(label, label)
    return found
