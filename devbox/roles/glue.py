"""`[glue.NAME]`: infrastructure around the project: proxies, scheduled jobs, backups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, Self

from pydantic import model_validator

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Mount
from devbox.roles import containers
from devbox.roles.context import ExpansionContext, split_label
from devbox.roles.fields import Kind, Texts, build_annotations, describe_type, parse_text_table
from devbox.roles.recipes import ServicePart

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
        raise ValueError('has two routes of one meaning; "x.localhost" is "x.localhost/"')
    return tuple(special)


def _parse_route(place: str, target: str) -> GlueRoute:
    known = _PLACE.fullmatch(place)
    if not place or known is None:
        raise ValueError(f'{place!r} must be a path that begins with "/", a host name, or a host name and a path')
    goal = _TARGET.fullmatch(target)
    if goal is None or not 0 < int(goal["port"]) <= _LAST_PORT:
        raise ValueError(f'{target!r} must be "CONTAINER:PORT"')
    path = (known["path"] or "/").rstrip("/") or "/"
    return GlueRoute(place, known["host"] or "", path, goal["container"], int(goal["port"]))


def parse_schedule(value: Any) -> str:
    """Five cron fields (minute, hour, day of month, month, day of week), in UTC."""
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    if not isinstance(value, str):
        raise ValueError(f'must be five cron fields such as "0 3 * * *", not {describe_type(value)}')
    try:
        next(CronSim(value, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        why = str(error).lower() or "there is no such time"
        raise ValueError(f'{value!r} is no schedule: {why}; "0 3 * * *" is every day at 03:00 UTC') from None
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
            raise ValueError(f"has a schedule, so it ends by itself each time; remove {superfluous}")
        return self


def expand(
    table: GlueTable, label: str, context: ExpansionContext, *, saved: Mapping[str, str] | None = None
) -> ContainerSpec:
    """Return the container. `saved`: volumes of `backup`, by name in the instance → container that mounts it."""
    part = containers.expand_part(table, label, context, more=_build_template_values(table))
    _check_routes(table, label, context, part)
    kind = "scheduled" if table.schedule else table.kind
    spec = containers.expand(table, label, context, by=part, kind=kind)
    names = (context.names[context.containers[name]] for name in table.reaches if name in context.containers)
    hosts = dict.fromkeys(route.host for route in table.routes if route.host and not route.host.startswith("*"))
    saved = saved or {}
    volumes = (Mount(kind="volume", source=name, target=f"{BACKUP_SOURCE}/{name}", read_only=True) for name in saved)
    return replace(
        spec,
        needs=tuple(dict.fromkeys((*spec.needs, *names, *saved.values()))),
        aliases=tuple(hosts),
        mounts=(*spec.mounts, *volumes),
        schedule=table.schedule or "",
    )


def _build_template_values(table: GlueTable) -> dict[str, object]:
    """Return the values for the templates of a proxy's recipe besides its parameters."""
    ports = dict.fromkeys(port.container for port in table.ports if port.protocol == "tcp")
    return {"routes": [route._asdict() for route in table.routes], "ports": list(ports)}


def _check_routes(table: GlueTable, label: str, context: ExpansionContext, part: ServicePart | None) -> None:
    if table.routes and not (part and part.routes):
        made = f"the recipe {table.recipe}" if table.recipe else "what its image is made from"
        raise EnvFileError(
            f"[{label}] has routes, but {made} takes none",
            where=context.where((*split_label(label), "routes")),
            remedy='recipe = "haproxy" does',
        )
