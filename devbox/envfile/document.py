"""Schema of the whole env file, as a frozen model."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

from devbox.envfile.stage_tables import DEFAULT_ORDER, StageTable
from devbox.roles.base import BaseTable
from devbox.roles.build import BuildTable
from devbox.roles.catalog import ROLES
from devbox.roles.dev import DevTable
from devbox.roles.fields import Command, Model, Text, Texts, TextTable, build_annotations, parse_text
from devbox.roles.glue import GlueTable
from devbox.roles.install import InstallTable
from devbox.roles.release import ImageTable
from devbox.roles.service import ServiceTable
from devbox.roles.tasks import TaskTable
from devbox.roles.test import TestTable
from devbox.roles.tool import ToolTable

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?")
_REQUIRES = re.compile(r"\s*(>=|==|<|)\s*(\d+(?:\.\d+)*)\s*")


def parse_project_name(value: Any) -> str:
    """Name of a project: part of file names, host names and image names."""
    name = parse_text(value)
    if not _PROJECT.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{name!r} can't be a project's name: lower-case letters, digits, '-', '_' and '.', "
            "a letter or digit at both ends, at most 63"
        )
    return name


def parse_requires(value: Any) -> str:
    """Comma-separated bounds on devbox's version, such as ">=0.1, <2"."""
    text = parse_text(value)
    if not all(_REQUIRES.fullmatch(part) for part in text.split(",")):
        raise ValueError(f'must be versions such as ">=0.1" or ">=0.1, <2", not {text!r}')
    return text


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


class Document(Model):
    """The env file with its local override merged and its variables substituted."""

    stages: Texts = DEFAULT_ORDER
    """Stages of a release, in order."""
    project: ProjectTable = Field(default_factory=ProjectTable)
    """Project metadata."""
    vars: TextTable = {}
    """The only source of `${name}` in strings; `$${name}` is literal; a shell's `$NAME` is left unchanged."""
    base: dict[str, BaseTable] = {}
    """Shared base images."""
    dev: DevTable | None = None
    """Development container."""
    tasks: dict[str, TaskTable] = {}
    """Named commands, run by `devbox run NAME`."""
    tool: dict[str, ToolTable] = {}
    """Programs with their own image."""
    test: TestTable | None = None
    """Tests and their environments."""
    build: BuildTable | None = None
    """Pinned build toolchain."""
    image: ImageTable | None = None
    """Release image."""
    install: dict[str, InstallTable] = {}
    """Files to install from an image on the host."""
    service: dict[str, ServiceTable] = {}
    """Services for dev and tests: databases, queues, jobs."""
    glue: dict[str, GlueTable] = {}
    """Infrastructure around the project."""
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
        """Return every container's table by label ("dev", "service.db"), in catalog order."""
        found: dict[str, Model] = {}
        for role in ROLES:
            value = getattr(self, role.name)
            if role.named:
                found.update({f"{role.name}.{name}": table for name, table in value.items()})
            elif value is not None:
                found[role.name] = value
        return found


def satisfies(requires: str, version: str) -> bool:
    """True if a version satisfies all bounds of `requires`."""
    have = _parse_numbers(version)
    for part in requires.split(","):
        match = _REQUIRES.fullmatch(part)
        sign, wanted = (match[1], _parse_numbers(match[2])) if match else ("", have)
        if not {">=": have >= wanted, "": have >= wanted, "==": have == wanted, "<": have < wanted}[sign]:
            return False
    return True


def _parse_numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
