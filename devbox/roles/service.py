"""`[service.NAME]`: something dev and the tests lean on, in a box: a database, a queue, a job that prepares them."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Health
from devbox.roles import containers
from devbox.roles.context import Context, key_of
from devbox.roles.fields import Environment, Kind
from devbox.roles.images import of_registry, recipe_use
from devbox.roles.parts import ImageParts, LongRunningParts
from devbox.roles.recipes import ServicePart


class ServiceTable(ImageParts, LongRunningParts):
    """Schema of `[service.NAME]`. A job must end with 0 before whoever needs it starts."""

    kind: Kind = "service"
    """A `service` must become ready, a `job` must end with 0, before whoever needs it starts."""
    exports: Environment = {}
    """Variables for whoever needs it, beside the recipe's."""


def exports(table: ServiceTable, label: str, context: Context) -> dict[str, str]:
    """The variables the service gives to whoever needs it."""
    part = _part(table, label, context)
    return {**(part.exports if part else {}), **table.exports}


def volume_name(label: str, key: str, context: Context) -> str:
    """The name of a recipe's volume. The dot keeps it apart from every name a person can write."""
    return f"{context.names[label]}.{key}"


def expand(table: ServiceTable, label: str, context: Context) -> ContainerSpec:
    """The service's container."""
    part = _part(table, label, context)
    config = context.image(label).config
    own = containers.environment(table, context)
    volumes = {volume_name(label, key, context): target for key, target in part.volumes.items()} if part else {}
    timeout = table.stop_timeout if table.stop_timeout is not None else part.stop_timeout if part else 10.0
    return ContainerSpec(
        name=context.names[label],
        label=label,
        role="service",
        image=label,
        kind=table.kind,
        command=_command(table, part, label, context),
        env={**(part.env if part else {}), **own},
        secrets=table.secrets,
        user=table.user or config.user,
        workdir=table.workdir or config.workdir,
        mounts=containers.mounts(table, context, volumes=volumes, binds=part.mounts if part else ()),
        ports=table.ports,
        needs=containers.needed(table, label, context),
        health=_health(table, part),
        image_health=table.kind == "service" and not table.health_is_off,
        restart="no" if table.kind == "job" else table.restart,
        stop_signal=table.stop_signal or (part.stop_signal if part else config.stop_signal),
        stop_timeout=timeout,
        limits=table.limits.limits(),
        isolation=table.isolation.isolation(),
        where=context.where(key_of(label)),
    )


def _part(table: ServiceTable, label: str, context: Context) -> ServicePart | None:
    use = recipe_use(table, label, context)
    name = context.names[label]
    return use.service(host=name, credentials=_credentials(name, context.credentials)) if use else None


def _credentials(name: str, credentials: Mapping[str, str]) -> dict[str, str]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in credentials.items() if key.startswith(prefix)}


def _command(table: ServiceTable, part: ServicePart | None, label: str, context: Context) -> tuple[str, ...]:
    command = table.command or (part.command if part else ())
    if command or of_registry(context.image(label), context):
        return command
    raise EnvFileError(
        f"[{label}] does not say what it runs, and neither does what its image is made from",
        where=context.where(key_of(label)),
        remedy='give it a command = "…"',
    )


def _health(table: ServiceTable, part: ServicePart | None) -> Health | None:
    """The probe in the file, else the recipe's."""
    if table.health is not None or table.health_is_off or table.kind == "job":
        return containers.probe(table)
    return part.health.probe(default_port=part.port) if part and part.health else None
