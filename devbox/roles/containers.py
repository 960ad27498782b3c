"""Expansion of a table to a container, for all roles: environment, mounts, health."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Health, Mount
from devbox.roles.images import find_recipe_use, has_own_command
from devbox.roles.parts import ImageParts, LongRunningParts, MountTable, RunParts
from devbox.roles.recipes import ServicePart
from devbox.roles.role import ExpansionContext, split_label

_PASSING = ("/tmp", "/run", "/var/tmp")  # noqa: S108 - in the container


def build_environment(table: RunParts, context: ExpansionContext) -> dict[str, str]:
    """Return a container's variables: exports of its needs, then env files, then `env`; later ones override."""
    variables = collect_exports(table.needs, context)
    for path in table.env_files:
        variables.update(context.env_files[path])
    return {**variables, **table.env}


def collect_exports(needs: Mapping[str, Mapping[str, str]], context: ExpansionContext) -> dict[str, str]:
    """Return the variables exported by a container's needs."""
    variables: dict[str, str] = {}
    for name, renames in needs.items():
        variables.update(select_exports(context.exports.get(context.containers[name], {}), renames))
    return variables


def select_exports(exports: Mapping[str, str], renames: Mapping[str, str]) -> dict[str, str]:
    """Return the exports of a need: all, or only the renamed ones."""
    if not renames:
        return dict(exports)
    return {new: exports[old] for old, new in renames.items() if old in exports}


def list_needed(table: RunParts, label: str, context: ExpansionContext) -> tuple[str, ...]:
    """Return the names of needed containers; EnvFileError if a preset leaves the table without a network."""
    if table.needs and table.isolation.network is None and table.isolation.to_isolation().network == "none":
        raise EnvFileError(
            f"[{label}] needs {', '.join(table.needs)}, but an isolated container has no network",
            where=context.where((*split_label(label), "needs")),
            remedy='isolation = { preset = "isolated", network = "project" }',
        )
    return tuple(context.names[context.containers[name]] for name in table.needs)


def build_mounts(
    table: RunParts,
    context: ExpansionContext,
    *,
    volumes: Mapping[str, str] | None = None,
    binds: tuple[MountTable, ...] = (),
) -> tuple[Mount, ...]:
    """Return the volumes, binds and tmpfs of a table, plus `volumes` and `binds` with unused targets.

    Read-only isolated containers get the usual temporary directories.
    """
    own = {*table.volumes.values(), *(item.target for item in table.mounts), *table.tmpfs}
    volumes = {name: target for name, target in (volumes or {}).items() if target not in own} | table.volumes
    binds = (*(item for item in binds if item.target not in own), *table.mounts)
    return (
        *(Mount(kind="volume", source=name, target=target) for name, target in volumes.items()),
        *(
            Mount(kind="bind", source=f"{context.root}/{item.source}", target=item.target, read_only=item.read_only)
            for item in binds
        ),
        *(
            Mount(kind="tmpfs", target=target)
            for target in (*table.tmpfs, *_list_scratch(table, {*own, *volumes.values()}))
        ),
    )


def _list_scratch(table: RunParts, taken: set[str]) -> tuple[str, ...]:
    """Return the temporary directories of an isolated container."""
    places = _PASSING if table.isolation.preset == "isolated" and table.isolation.to_isolation().read_only else ()
    return tuple(place for place in places if place not in taken)


def build_probe(table: LongRunningParts) -> Health | None:
    """Return the probe of a table."""
    first = table.ports[0].container if table.ports else 0
    return table.health.to_health(default_port=first) if table.health is not None else None


DEV = "dev"


class StandingTable(ImageParts, LongRunningParts):
    """Common keys of services and glue: an image and a long-running container."""


def name_volume(label: str, key: str, context: ExpansionContext) -> str:
    """Return the name of a recipe's volume. The dot avoids conflicts with names in the file."""
    return f"{context.names[label]}.{key}"


def expand_part(
    table: StandingTable, label: str, context: ExpansionContext, *, more: Mapping[str, object] | None = None
) -> ServicePart | None:
    """Render the service part of a table's recipe with the values `more`; None without a recipe."""
    use = find_recipe_use(table, label, context)
    name = context.names[label]
    return (
        use.render_service(host=name, credentials=_select_credentials(name, context.credentials), more=more)
        if use
        else None
    )


def expand(
    table: StandingTable, label: str, context: ExpansionContext, *, by: ServicePart | None, kind: str = "service"
) -> ContainerSpec:
    """Return the container of a table, with defaults from its recipe (`by`). Jobs are not restarted."""
    config = context.image(label).config
    own = build_environment(table, context)
    volumes = {name_volume(label, key, context): target for key, target in by.volumes.items()} if by else {}
    workspace = context.workspace if table.from_ == DEV else ""  # based on dev: works on the project like dev
    timeout = table.stop_timeout if table.stop_timeout is not None else by.stop_timeout if by else 10.0
    return ContainerSpec(
        name=context.names[label],
        label=label,
        role=label.partition(".")[0],
        image=label,
        kind=kind,
        command=_choose_command(table, by, label, context),
        env={**(by.env if by else {}), **own},
        secrets=table.secrets,
        user=table.user or config.user,
        workdir=table.workdir or workspace or config.workdir,
        mounts=(
            *([Mount(kind="workspace", source=context.root, target=workspace)] if workspace else []),
            *build_mounts(table, context, volumes=volumes, binds=by.mounts if by else ()),
        ),
        ports=table.ports,
        needs=list_needed(table, label, context),
        health=_choose_health(table, by, kind=kind),
        image_health=kind == "service" and not table.is_health_off,
        restart=table.restart if kind == "service" else "no",
        stop_signal=table.stop_signal or (by.stop_signal if by else config.stop_signal),
        stop_timeout=timeout,
        limits=table.limits.to_limits(),
        isolation=table.isolation.to_isolation(),
        where=context.where(split_label(label)),
    )


def _select_credentials(name: str, credentials: Mapping[str, str]) -> dict[str, str]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in credentials.items() if key.startswith(prefix)}


def _choose_command(
    table: StandingTable, by: ServicePart | None, label: str, context: ExpansionContext
) -> tuple[str, ...]:
    command = table.command or (by.command if by else ())
    if command or has_own_command(context.image(label), context):
        return command
    raise EnvFileError(
        f"missing command in [{label}], whose image has none",
        where=context.where(split_label(label)),
        remedy='set command = "…"',
    )


def _choose_health(table: StandingTable, by: ServicePart | None, *, kind: str) -> Health | None:
    """Return the probe of the file, else of the recipe."""
    if table.health is not None or table.is_health_off or kind != "service":
        return build_probe(table)
    return by.health.to_health(default_port=by.port) if by and by.health else None
