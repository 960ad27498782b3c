"""`[glue.NAME]`: infrastructure around the project: proxies, scheduled jobs, backups."""

from __future__ import annotations

from typing import Annotated, Any

from devbox.roles.fields import Model, Text, Texts, field, parse_text_table
from devbox.roles.parts import ImageParts, LongRunningParts


def parse_routes(value: Any) -> dict[str, str]:
    """URL path prefix → "CONTAINER:PORT"."""
    routes = parse_text_table(value)
    for prefix, target in routes.items():
        name, _, port = target.partition(":")
        if not prefix.startswith("/"):
            raise ValueError(f'{prefix!r} must begin with "/"')
        if not name or not port.isdigit():
            raise ValueError(f'{target!r} must be "CONTAINER:PORT"')
    return routes


_ROUTES = {"type": "object", "additionalProperties": {"type": "string"}}


class GlueTable(ImageParts, LongRunningParts):
    """Schema of `[glue.NAME]`. A `schedule` (five cron fields) makes it a job; `backup` names volumes."""

    routes: Annotated[dict[str, str], *field(parse_routes, _ROUTES)] = {}
    """URL path prefix → `CONTAINER:PORT`."""
    schedule: Text | None = None
    """When it runs: five cron fields."""
    backup: Texts = ()
    """Volumes that it backs up."""


def later(label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return f"[{label}] is not started yet: this version has no glue containers; they come with `devbox promote`"
