"""`[glue.NAME]`: infrastructure around the project: proxies, scheduled jobs, backups."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, Self

from pydantic import model_validator

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Mount
from devbox.model.image import ImageSpec
from devbox.roles import containers
from devbox.roles.fields import Kind, Texts, build_annotations, describe_type, parse_text_table
from devbox.roles.images import build_image
from devbox.roles.recipes import ServicePart
from devbox.roles.role import ExpansionContext, Role, Start, split_label

BACKUP_SOURCE = "/volumes"  # mount point of volumes in a backup, one directory each
_PLACE = re.compile(r"(?P<host>(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*)?(?P<path>/[A-Za-z0-9._~%@+=:,/-]*)?")
_TARGET = re.compile(r"(?P<container>[a-z0-9][a-z0-9_.-]*):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


class GlueRoute(NamedTuple):
    """Route of requests to `host` ("": any; "*.x": subdomains of x) at or below `path` to a container."""

    place: str  # as in the file: "/", "/api", "mail.localhost", "api.localhost/v1"
    host: str
    path: str
    container: str
    port: int


def parse_routes(value: Any) -> tuple[GlueRoute, ...]:
    """`[HOST][/PATH]` → "CONTAINER:PORT"; the most specific matching route applies."""
    found = [_parse_route(place, target) for place, target in parse_text_table(value).items()]
    special = sorted(found, key=lambda route: (not route.host, route.host.startswith("*"), -len(route.path)))
    if len({(route.host, route.path) for route in special}) != len(special):
        raise ValueError('has two equivalent routes; "x.localhost" is "x.localhost/"')
    return tuple(special)


def _parse_route(place: str, target: str) -> GlueRoute:
    known = _PLACE.fullmatch(place)
    if not place or known is None:
        raise ValueError(f'expected a path that begins with "/", a host name, or both, got {place!r}')
    goal = _TARGET.fullmatch(target)
    if goal is None or not 0 < int(goal["port"]) <= _LAST_PORT:
        raise ValueError(f'expected "CONTAINER:PORT", got {target!r}')
    path = (known["path"] or "/").rstrip("/") or "/"
    return GlueRoute(place, known["host"] or "", path, goal["container"], int(goal["port"]))


def parse_schedule(value: Any) -> str:
    """Five cron fields (minute, hour, day of month, month, day of week), in UTC."""
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    if not isinstance(value, str):
        raise ValueError(f'expected five cron fields such as "0 3 * * *", got {describe_type(value)}')
    try:
        next(CronSim(value, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        why = str(error).lower() or "no such time"
        raise ValueError(f'expected a schedule such as "0 3 * * *" (03:00 UTC), got {value!r}: {why}') from None
    return value


_ROUTES = {"type": "object", "additionalProperties": {"type": "string"}}


class GlueTable(containers.StandingTable):
    """Schema of `[glue.NAME]`. A long-running container, a job, or a scheduled job."""

    kind: Kind = "service"
    """A `service` keeps running; a `job` must exit with 0 before its dependants start."""
    routes: Annotated[tuple[GlueRoute, ...], *build_annotations(parse_routes, _ROUTES)] = ()
    """`[HOST][/PATH]` → `CONTAINER:PORT`, for a proxy such as the recipe haproxy; the containers start first."""
    schedule: Annotated[str | None, *build_annotations(parse_schedule, {"type": "string"})] = None
    """Five cron fields in UTC. Each run uses a fresh container; runs do not overlap."""
    backup: Texts = ()
    """Volumes, or services with volumes, mounted read-only below `/volumes`."""

    @property
    def reaches(self) -> tuple[str, ...]:
        """Names of the containers that must run first, including possible owners of `backup` volumes."""
        owners = (name if name in self.needs else name.partition(".")[0] for name in self.backup)
        return tuple(dict.fromkeys((*self.needs, *(route.container for route in self.routes), *owners)))

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if self.schedule and (self.routes or "kind" in self.model_fields_set):
            superfluous = "routes" if self.routes else "kind"
            raise ValueError(f"has a schedule, which conflicts with {superfluous}")
        return self


class GlueRole(Role[GlueTable]):
    """`[glue.NAME]`, with the containers of its routes and backups."""

    name = "glue"
    table = GlueTable
    about = "Infrastructure around the project."
    named = True
    start = Start.UP
    needed = True
    backing = True

    def image(self, table: GlueTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of the table."""
        return build_image(table, label, context)

    def container(self, table: GlueTable, label: str, context: ExpansionContext) -> ContainerSpec:
        """Return the container, with the volumes of `backup`."""
        return _expand(table, label, context)

    def explain_not_needed(self, table: GlueTable) -> str:
        """Report a container that only runs on a schedule."""
        return f"runs only on a schedule: {table.schedule}" if table.schedule else ""


ROLE = GlueRole()


def _expand(table: GlueTable, label: str, context: ExpansionContext) -> ContainerSpec:
    saved = _find_saved(table, label, context)
    part = containers.expand_part(table, label, context, more=_build_template_values(table))
    _check_routes(table, label, context, part)
    kind = "scheduled" if table.schedule else table.kind
    spec = containers.expand(table, label, context, by=part, kind=kind)
    names = (context.names[context.containers[name]] for name in table.reaches if name in context.containers)
    hosts = dict.fromkeys(route.host for route in table.routes if route.host and not route.host.startswith("*"))
    volumes = (Mount(kind="volume", source=name, target=f"{BACKUP_SOURCE}/{name}", read_only=True) for name in saved)
    return replace(
        spec,
        needs=tuple(dict.fromkeys((*spec.needs, *names, *saved.values()))),
        aliases=tuple(hosts),
        mounts=(*spec.mounts, *volumes),
        schedule=table.schedule or "",
    )


def _find_saved(table: GlueTable, label: str, context: ExpansionContext) -> dict[str, str]:
    """Return the volumes named in `backup`, by container or volume name, each with a container that mounts it."""
    if not table.backup:
        return {}
    labels = [name for name in dict.fromkeys(context.containers.values()) if split_label(name)[0] != ROLE.name]
    known = [context.container(name) for name in labels]
    owned = {mount.source: spec for spec in reversed(known) for mount in spec.mounts if mount.kind == "volume"}
    found: dict[str, str] = {}
    for name in table.backup:
        volumes = [volume for volume, spec in owned.items() if name in (volume, spec.name, spec.label)]
        if not volumes:
            raise EnvFileError(
                f"[{label}] backup: volume or service with volumes {name} not found",
                where=context.where((*split_label(label), "backup")),
                remedy=f"known: {', '.join(sorted({*owned, *(spec.name for spec in owned.values())})) or 'none'}",
            )
        found |= {volume: owned[volume].name for volume in volumes}
    return found


def _build_template_values(table: GlueTable) -> dict[str, object]:
    """Return the values for the templates of a proxy's recipe besides its parameters."""
    ports = dict.fromkeys(port.container for port in table.ports if port.protocol == "tcp")
    return {"routes": [route._asdict() for route in table.routes], "ports": list(ports)}


def _check_routes(table: GlueTable, label: str, context: ExpansionContext, part: ServicePart | None) -> None:
    if table.routes and not (part and part.routes):
        origin = f"the recipe {table.recipe}" if table.recipe else "its image"
        raise EnvFileError(
            f"[{label}] has routes, which {origin} does not support",
            where=context.where((*split_label(label), "routes")),
            remedy='use recipe = "haproxy"',
        )
