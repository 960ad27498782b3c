"""`[service.NAME]`: something dev and the tests lean on, in a box: a database, a queue, a job that prepares them."""

from __future__ import annotations

from typing import Literal

from devbox.model.container import ContainerSpec
from devbox.roles import containers
from devbox.roles.context import ExpansionContext
from devbox.roles.fields import Environment, Kind


class ServiceTable(containers.StandingTable):
    """Schema of `[service.NAME]`. A job must end with 0 before whoever needs it starts."""

    kind: Kind = "service"
    """A `service` must become ready, a `job` must end with 0, before whoever needs it starts."""
    exports: Environment = {}
    """Variables for whoever needs it, beside the recipe's."""
    data: Literal["project", "branch"] = "project"
    """`branch`: each git branch has volumes of its own, which begin as those of the branch it came from."""


def exports(table: ServiceTable, label: str, context: ExpansionContext) -> dict[str, str]:
    """The variables the service gives to whoever needs it."""
    part = containers.expand_part(table, label, context)
    return {**(part.exports if part else {}), **table.exports}


def expand(table: ServiceTable, label: str, context: ExpansionContext) -> ContainerSpec:
    """The service's container."""
    return containers.expand(table, label, context, by=containers.expand_part(table, label, context), kind=table.kind)
