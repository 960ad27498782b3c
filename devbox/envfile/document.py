"""The whole env file as one frozen model."""

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
    """A project's name: part of file names, host names and image names."""
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
    """Schema of `[project]`. The name defaults to the directory's."""

    name: Annotated[str, *build_annotations(parse_project_name, _STRING)] | None = None
    """The project's name; the directory's when left out."""
    requires: Annotated[str, *build_annotations(parse_requires, _STRING)] | None = None
    """The versions of devbox this file was written for; any other refuses it."""
    description: Text = ""
    """One line about the project."""


class HooksTable(Model):
    """Schema of `[hooks]`: commands on this machine, in the project directory, once `devbox trust` has allowed them."""

    created: Command | None = None
    """After the first `up` of the instance, and after `down -v` again: when everything is ready."""
    started: Command | None = None
    """After each `up` or `restart` that started a container: when everything is ready, `created` before it."""


class Document(Model):
    """devbox.toml, its local override merged and its variables filled."""

    stages: Texts = DEFAULT_ORDER
    """The order in which a release passes its stages."""
    project: ProjectTable = Field(default_factory=ProjectTable)
    """The project itself."""
    vars: TextTable = {}
    """The one source of `${name}` in strings; `$${name}` is literal, a shell's `$NAME` is left alone."""
    base: dict[str, BaseTable] = {}
    """Images that others of the file build on."""
    dev: DevTable | None = None
    """The container you work in."""
    tasks: dict[str, TaskTable] = {}
    """Named commands: `devbox run NAME`."""
    tool: dict[str, ToolTable] = {}
    """Programs with an image of their own."""
    test: TestTable | None = None
    """The tests and the environments they must pass in."""
    build: BuildTable | None = None
    """The pinned toolchain."""
    image: ImageTable | None = None
    """The release image."""
    install: dict[str, InstallTable] = {}
    """Files out of an image onto the host."""
    service: dict[str, ServiceTable] = {}
    """What dev and the tests lean on: databases, queues, jobs."""
    glue: dict[str, GlueTable] = {}
    """Infrastructure around the project."""
    stage: dict[str, StageTable] = {}
    """The stages of a release."""
    approvers: TextTable = {}
    """Who may approve a release: name → file of the public key."""
    builders: TextTable = {}
    """Who may build and sign a release: name → file of the public key."""
    hooks: HooksTable = Field(default_factory=HooksTable)
    """Commands on this machine around the containers."""

    def order(self) -> tuple[str, ...]:
        """The stages in order: those of `stages` where it is written, else those of the usual ones with a table."""
        written = "stages" in self.model_fields_set
        return self.stages if written else tuple(name for name in self.stages if name in self.stage)

    def list_tables(self) -> dict[str, Model]:
        """Every container's table by its label ("dev", "service.db"), in the order of the catalog."""
        found: dict[str, Model] = {}
        for role in ROLES:
            value = getattr(self, role.name)
            if role.named:
                found.update({f"{role.name}.{name}": table for name, table in value.items()})
            elif value is not None:
                found[role.name] = value
        return found


def satisfies(requires: str, version: str) -> bool:
    """Whether a version keeps to all bounds of `requires`."""
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
