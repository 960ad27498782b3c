"""Resolution of table names in the file."""

from __future__ import annotations

from collections.abc import Iterable

from devbox.envfile.document import Document
from devbox.roles.catalog import ROLES

_ROLE = {role.name: role for role in ROLES}


def parse_role(label: str) -> str:
    """Return the role of a label."""
    return label.partition(".")[0]


def name_containers(document: Document) -> dict[str, str]:
    """Map labels to container names: the last part, or the whole label if another role uses that name."""
    names: dict[str, str] = {}
    for label in document.list_tables():
        short = label.rpartition(".")[2]
        names[label] = label if short in names.values() and parse_role(label) != "base" else short
    return names


def list_sources(document: Document) -> dict[str, str]:
    """Map valid values of `from` to labels. A base's short name takes precedence."""
    labels = [label for label in document.list_tables() if _ROLE[parse_role(label)].source]
    return _index_by_name(sorted(labels, key=lambda label: parse_role(label) != "base"))


def list_needable(document: Document) -> dict[str, str]:
    """Map valid values of `needs` to labels."""
    return _index_by_name([label for label in document.list_tables() if _ROLE[parse_role(label)].needed])


def _index_by_name(labels: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label in labels:
        found.setdefault(label.rpartition(".")[2], label)
        found.setdefault(label, label)
    return found
