"""The container of a table, whatever its role: environment, mounts, health."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import EnvFileError
from devbox.model.container import Health, Mount
from devbox.roles.context import Context, key_of
from devbox.roles.parts import LongRunningParts, MountTable, RunParts

_PASSING = ("/tmp", "/run", "/var/tmp")  # noqa: S108 - inside


def environment(table: RunParts, context: Context) -> dict[str, str]:
    """A container's own variables: exports of what it needs, then its env files, then `env`; the later wins."""
    variables = exported(table.needs, context)
    for path in table.env_files:
        variables.update(context.env_files[path])
    return {**variables, **table.env}


def exported(needs: Mapping[str, Mapping[str, str]], context: Context) -> dict[str, str]:
    """The variables that a container gets from what it needs."""
    variables: dict[str, str] = {}
    for name, renames in needs.items():
        variables.update(taken(context.exports.get(context.containers[name], {}), renames))
    return variables


def taken(exports: Mapping[str, str], renames: Mapping[str, str]) -> dict[str, str]:
    """The exports a need brings: all of them, or just those it renames."""
    if not renames:
        return dict(exports)
    return {new: exports[old] for old, new in renames.items() if old in exports}


def needed(table: RunParts, label: str, context: Context) -> tuple[str, ...]:
    """Names of the containers a table waits for. One that a preset leaves without a network could not reach them."""
    if table.needs and table.isolation.network is None and table.isolation.isolation().network == "none":
        raise EnvFileError(
            f"[{label}] needs {', '.join(table.needs)}, but isolated it has no network to reach anything",
            where=context.where((*key_of(label), "needs")),
            remedy='isolation = { preset = "isolated", network = "project" }',
        )
    return tuple(context.names[context.containers[name]] for name in table.needs)


def mounts(
    table: RunParts,
    context: Context,
    *,
    volumes: Mapping[str, str] | None = None,
    binds: tuple[MountTable, ...] = (),
) -> tuple[Mount, ...]:
    """Volumes, binds and tmpfs of a table; besides it the `volumes` and `binds` whose places it leaves free.

    A container whose own files can't be changed still has the usual places for what passes.
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
        *(Mount(kind="tmpfs", target=target) for target in (*table.tmpfs, *_passing(table, {*own, *volumes.values()}))),
    )


def _passing(table: RunParts, taken: set[str]) -> tuple[str, ...]:
    """Where an isolated container may write, as long as it runs."""
    places = _PASSING if table.isolation.preset == "isolated" and table.isolation.isolation().read_only else ()
    return tuple(place for place in places if place not in taken)


def probe(table: LongRunningParts) -> Health | None:
    """The probe a table asks for."""
    first = table.ports[0].container if table.ports else 0
    return table.health.probe(default_port=first) if table.health is not None else None
