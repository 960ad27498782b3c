"""`[service.NAME]`: a service for dev and tests: a database, a queue, or a preparing job."""

from __future__ import annotations

from typing import Literal

from devbox.model.container import ContainerSpec
from devbox.roles import containers
from devbox.roles.context import ExpansionContext
from devbox.roles.fields import Environment, Kind


class ServiceTable(containers.StandingTable):
    """Schema of `[service.NAME]`. A job must exit with 0 before its dependants start."""

    kind: Kind = "service"
    """A `service` must be ready, a `job` must exit with 0, before its dependants start."""
    exports: Environment = {}
    """Environment variables for dependants, in addition to the recipe's."""
    data: Literal["project", "branch"] = "project"
    """`branch`: separate volumes per git branch, initially copied from the branch's origin."""


def exports(table: ServiceTable, label: str, context: ExpansionContext) -> dict[str, str]:
    """Return the exports of the service."""
    part = containers.expand_part(table, label, context)
    return {**(part.exports if part else {}), **table.exports}


def expand(table: ServiceTable, label: str, context: ExpansionContext) -> ContainerSpec:
    """Return the container of the service."""
    return containers.expand(table, label, context, by=containers.expand_part(table, label, context), kind=table.kind)
