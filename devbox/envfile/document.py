"""Schema of the whole env file, as a frozen model."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model

from devbox.envfile.stage_tables import DEFAULT_ORDER, StageTable
from devbox.roles.catalog import ROLES, TABLE_KINDS, find_role
from devbox.roles.fields import Command, Model, Text, Texts, TextTable, build_annotations, parse_text
from devbox.roles.role import TableKind, TableT

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?")


def parse_project_name(value: Any) -> str:
    """Name of a project: part of file names, host names and image names."""
    name = parse_text(value)
    if not _PROJECT.fullmatch(name) or ".." in name:
        raise ValueError(
            "expected lower-case letters, digits, '-', '_' and '.', a letter or digit at both ends, "
            f"at most 63 characters, got {name!r}"
        )
    return name


def parse_requires(value: Any) -> str:
    """Comma-separated bounds on devbox's version, such as ">=0.1, <2"."""
    text = parse_text(value)
    _parse_bounds(text)
    return text


def _parse_bounds(text: str) -> SpecifierSet:
    """Parse PEP 440 bounds, of which a bare version is the lowest allowed one; raise ValueError if invalid."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    parts = [part.strip() for part in text.split(",")]
    with contextlib.suppress(InvalidSpecifier):
        if all(parts):
            return SpecifierSet(",".join(f">={part}" if part[0].isdigit() else part for part in parts))
    raise ValueError(f'expected versions such as ">=0.1" or ">=0.1, <2", got {text!r}')


_STRING = {"type": "string"}


class ProjectTable(Model):
    """Schema of `[project]`. The name defaults to that of the directory."""

    name: Annotated[str, *build_annotations(parse_project_name, _STRING)] | None = None
    """Project name (default: name of the directory)."""
    requires: Annotated[str, *build_annotations(parse_requires, _STRING)] | None = None
    """Required devbox versions; other versions refuse the file."""
    description: Text = ""
    """One-line description of the project."""


class HooksTable(Model):
    """Schema of `[hooks]`. Commands on the host, run in the project directory, once allowed by `devbox trust`."""

    created: Command | None = None
    """Run after the first `up` of the instance, and the first after `down -v`, once everything is ready."""
    started: Command | None = None
    """Run after each `up` or `restart` that started a container, once everything is ready and after `created`."""


class HeadTables(Model):
    """Tables before those of the catalog."""

    stages: Texts = DEFAULT_ORDER
    """Stages of a release, in order."""
    project: ProjectTable = Field(default_factory=ProjectTable)
    """Project metadata."""
    vars: TextTable = {}
    """The only source of `${name}` in strings; `$${name}` is literal; a shell's `$NAME` is left unchanged."""


if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    RoleTables = HeadTables
else:
    _FIELDS = {
        kind.name: (dict[str, kind.table], {}) if kind.named else (kind.table | None, None) for kind in TABLE_KINDS
    }
    RoleTables = create_model("RoleTables", __base__=HeadTables, __module__=__name__, **_FIELDS)


class Document(RoleTables):
    """The env file with its local override merged and its variables substituted."""

    stage: dict[str, StageTable] = {}
    """Stages of a release."""
    approvers: TextTable = {}
    """Approvers of releases: name → public key file."""
    builders: TextTable = {}
    """Builders and signers of releases: name → public key file."""
    hooks: HooksTable = Field(default_factory=HooksTable)
    """Commands on the host, run around container starts."""

    def order(self) -> tuple[str, ...]:
        """Return the stages in order: those of `stages` if set, else the default stages with a table."""
        written = "stages" in self.model_fields_set
        return self.stages if written else tuple(name for name in self.stages if name in self.stage)

    def list_tables(self) -> dict[str, Model]:
        """Return every container's table by label ("dev", "service.db"), in order of precedence."""
        found: dict[str, Model] = {}
        for role in ROLES:
            found.update(self.select(role))
        return found

    def select(self, kind: TableKind[TableT]) -> dict[str, TableT]:
        """Return the tables of a kind by label."""
        value: Any = getattr(self, kind.name)
        if kind.named:
            return {f"{kind.name}.{name}": table for name, table in value.items()}
        return {} if value is None else {kind.name: value}

    def find(self, kind: TableKind[TableT]) -> TableT | None:
        """Return the only table of a kind that has no names; None without one."""
        return self.select(kind).get(kind.name)

    def name_containers(self) -> dict[str, str]:
        """Map labels to container names: the last part, or the whole label if another role uses that name."""
        names: dict[str, str] = {}
        for label in self.list_tables():
            short = label.rpartition(".")[2]
            names[label] = label if short in names.values() and not find_role(label).shared else short
        return names

    def list_sources(self) -> dict[str, str]:
        """Map valid values of `from` to labels. The short name of a shared table takes precedence."""
        labels = [label for label in self.list_tables() if find_role(label).source]
        return _index_by_name(sorted(labels, key=lambda label: not find_role(label).shared))

    def list_needable(self) -> dict[str, str]:
        """Map valid values of `needs` to labels."""
        return _index_by_name([label for label in self.list_tables() if find_role(label).needed])


def _index_by_name(labels: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label in labels:
        found.setdefault(label.rpartition(".")[2], label)
        found.setdefault(label, label)
    return found


def satisfies(requires: str, version: str) -> bool:
    """True if a version satisfies all bounds of `requires`. Pre-releases are not excluded."""
    return _parse_bounds(requires).contains(version, prereleases=True)
