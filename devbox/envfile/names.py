"""Resolution of table names in the file."""

from __future__ import annotations

from collections.abc import Iterable

from devbox.envfile.document import Document
from devbox.roles.catalog import find_role


def name_containers(document: Document) -> dict[str, str]:
    """Map labels to container names: the last part, or the whole label if another role uses that name."""
    names: dict[str, str] = {}
    for label in document.list_tables():
        short = label.rpartition(".")[2]
        names[label] = label if short in names.values() and not find_role(label).shared else short
    return names


def list_sources(document: Document) -> dict[str, str]:
    """Map valid values of `from` to labels. The short name of a shared table takes precedence."""
    labels = [label for label in document.list_tables() if find_role(label).source]
    return _index_by_name(sorted(labels, key=lambda label: not find_role(label).shared))


def list_needable(document: Document) -> dict[str, str]:
    """Map valid values of `needs` to labels."""
    return _index_by_name([label for label in document.list_tables() if find_role(label).needed])


def _index_by_name(labels: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label in labels:
        found.setdefault(label.rpartition(".")[2], label)
        found.setdefault(label, label)
    return found
