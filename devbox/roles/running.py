"""What stays: the container of a table with ports, health and restarts, by its recipe where it has one."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Health, Mount
from devbox.roles import containers
from devbox.roles.context import Context, key_of
from devbox.roles.images import recipe_use, says_how_it_runs
from devbox.roles.parts import ImageParts, LongRunningParts
from devbox.roles.recipes import ServicePart

DEV = "dev"


class StandingTable(ImageParts, LongRunningParts):
    """What tables of services and glue have in common: an image of their own, and how it is kept running."""


def volume_name(label: str, key: str, context: Context) -> str:
    """The name of a recipe's volume. The dot keeps it apart from every name a person can write."""
    return f"{context.names[label]}.{key}"


def part(
    table: StandingTable, label: str, context: Context, *, more: Mapping[str, object] | None = None
) -> ServicePart | None:
    """How the table's recipe runs it, `more` known to its templates; None where its image comes from elsewhere."""
    use = recipe_use(table, label, context)
    name = context.names[label]
    return use.service(host=name, credentials=_credentials(name, context.credentials), more=more) if use else None


def expand(
    table: StandingTable, label: str, context: Context, *, by: ServicePart | None, kind: str = "service"
) -> ContainerSpec:
    """The container of a table, run as its recipe says (`by`) where the table says nothing. A job is not restarted."""
    config = context.image(label).config
    own = containers.environment(table, context)
    volumes = {volume_name(label, key, context): target for key, target in by.volumes.items()} if by else {}
    workspace = context.workspace if table.from_ == DEV else ""  # built on dev, it works on the project as dev does
    timeout = table.stop_timeout if table.stop_timeout is not None else by.stop_timeout if by else 10.0
    return ContainerSpec(
        name=context.names[label],
        label=label,
        role=label.partition(".")[0],
        image=label,
        kind=kind,
        command=_command(table, by, label, context),
        env={**(by.env if by else {}), **own},
        secrets=table.secrets,
        user=table.user or config.user,
        workdir=table.workdir or workspace or config.workdir,
        mounts=(
            *([Mount(kind="workspace", source=context.root, target=workspace)] if workspace else []),
            *containers.mounts(table, context, volumes=volumes, binds=by.mounts if by else ()),
        ),
        ports=table.ports,
        needs=containers.needed(table, label, context),
        health=_health(table, by, kind=kind),
        image_health=kind == "service" and not table.health_is_off,
        restart=table.restart if kind == "service" else "no",
        stop_signal=table.stop_signal or (by.stop_signal if by else config.stop_signal),
        stop_timeout=timeout,
        limits=table.limits.limits(),
        isolation=table.isolation.isolation(),
        where=context.where(key_of(label)),
    )


def _credentials(name: str, credentials: Mapping[str, str]) -> dict[str, str]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in credentials.items() if key.startswith(prefix)}


def _command(table: StandingTable, by: ServicePart | None, label: str, context: Context) -> tuple[str, ...]:
    command = table.command or (by.command if by else ())
    if command or says_how_it_runs(context.image(label), context):
        return command
    raise EnvFileError(
        f"[{label}] does not say what it runs, and neither does what its image is made from",
        where=context.where(key_of(label)),
        remedy='give it a command = "…"',
    )


def _health(table: StandingTable, by: ServicePart | None, *, kind: str) -> Health | None:
    """The probe in the file, else the recipe's."""
    if table.health is not None or table.health_is_off or kind != "service":
        return containers.probe(table)
    return by.health.probe(default_port=by.port) if by and by.health else None
