"""`[service.NAME]`: a service for dev and tests: a database, a queue, or a preparing job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from devbox.model.container import ContainerSpec
from devbox.model.image import ImageSpec
from devbox.model.spec import Spec
from devbox.roles import containers
from devbox.roles.fields import Environment, Kind
from devbox.roles.images import build_image
from devbox.roles.recipes import Recipe
from devbox.roles.role import ExpansionContext, Problem, Role, Start, split_label


class ServiceTable(containers.StandingTable):
    """Schema of `[service.NAME]`. A job must exit with 0 before its dependants start."""

    kind: Kind = "service"
    """A `service` must be ready, a `job` must exit with 0, before its dependants start."""
    exports: Environment = {}
    """Environment variables for dependants, in addition to the recipe's."""
    data: Literal["project", "branch"] = "project"
    """`branch`: separate volumes per git branch, initially copied from the branch's origin."""


class ServiceRole(Role[ServiceTable]):
    """`[service.NAME]`, with defaults and exports of its recipe."""

    name = "service"
    table = ServiceTable
    about = "Services for dev and tests: databases, queues, jobs."
    named = True
    start = Start.UP
    needed = True
    backing = True
    tested = True

    def image(self, table: ServiceTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of the service."""
        return build_image(table, label, context)

    def container(self, table: ServiceTable, label: str, context: ExpansionContext) -> ContainerSpec:
        """Return the container of the service."""
        part = containers.expand_part(table, label, context)
        return containers.expand(table, label, context, by=part, kind=table.kind)

    def exports(self, table: ServiceTable, label: str, context: ExpansionContext) -> dict[str, str]:
        """Return the exports of the recipe and of the table."""
        part = containers.expand_part(table, label, context)
        return {**(part.exports if part else {}), **table.exports}

    def list_export_names(self, table: ServiceTable, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
        """Return the names of the recipe's exports, then those of the table."""
        recipe = recipes.get(table.recipe or "")
        return (*((recipe.service or {}).get("exports", {}) if recipe else {}), *table.exports)

    def list_credentials(self, table: ServiceTable, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
        """Return the credentials of the recipe."""
        recipe = recipes.get(table.recipe or "")
        return recipe.credentials if recipe else ()

    def extend(self, spec: Spec, tables: Mapping[str, ServiceTable], context: ExpansionContext) -> Spec:
        """Add the volumes of services with data per branch; the current branch is determined later."""
        own = {label for label, table in tables.items() if table.data == "branch"}
        mounts = (mount for each in spec.containers.values() if each.label in own for mount in each.mounts)
        return replace(spec, branched={mount.source: mount.source for mount in mounts if mount.kind == "volume"})

    def check(self, table: ServiceTable, label: str) -> Iterator[Problem]:
        """Report the probe of a job."""
        if table.health is not None and table.kind == "job":
            key = (*split_label(label), "health")
            yield Problem(key=key, sentence=f"[{label}] is a job, which cannot have a health check")


ROLE = ServiceRole()
