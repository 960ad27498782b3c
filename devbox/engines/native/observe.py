"""Conversion of a supervisor's state to the engine interface's types. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.engines.engine import InstanceView, KeptWritableLayer
from devbox.model.observed import BoundPort, ObservedContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.isolation.state import ContainerState, InstanceState
    from devbox.isolation.types import PublishedPort


def build_view(
    now: InstanceState | None,
    *,
    supervised: bool,
    standing: bool,
    adoptable: bool,
    tops: Mapping[str, KeptWritableLayer],
    volumes: tuple[str, ...],
) -> InstanceView:
    """Build the view of an instance. `standing`: it has a runtime directory; `adoptable`: see `InstanceView`."""
    if now is None:
        return InstanceView(supervised=False, standing=standing, containers={}, volumes=volumes, tops=tops)
    published: dict[str, tuple[BoundPort, ...]] = {}
    for each in now.published:
        published[each.name] = (*published.get(each.name, ()), _build_port(each.publish))
    return InstanceView(
        supervised=supervised,
        standing=standing,
        containers={row.name: build_container(row, tops) for row in now.containers},
        volumes=volumes,
        names=tuple(name.name for name in now.names),
        addresses={name.name: name.node.address for name in now.names},
        published=published,
        tops=tops,
        adoptable=adoptable,
        notes=() if supervised else _build_notes(now),
    )


def build_container(row: ContainerState, tops: Mapping[str, KeptWritableLayer]) -> ObservedContainer:
    """Build the observed state of one container."""
    top = tops.get(row.name)
    return ObservedContainer(
        name=row.name,
        role=row.role,
        state=row.state,
        health=row.health,
        image=row.image,
        digest=row.digest,
        pid=row.process.pid if row.process else None,
        spec_key=row.spec_key,
        image_key=row.image_key,
        ports=tuple(_build_port(port) for port in row.ports),
        restarts=row.restarts,
        crashes=row.crashes,
        exit_code=row.exit_code,
        reason=row.reason,
        started_at=row.started_at,
        setup_key=top.setup_key if top else None,
        awaits_setup=not row.released,
    )


def _build_port(publish: PublishedPort) -> BoundPort:
    return BoundPort(host=publish.host, address=publish.address, container=publish.container, protocol=publish.protocol)


def _build_notes(now: InstanceState) -> tuple[str, ...]:
    running = [row.name for row in now.containers if row.process is not None]
    if not running:
        return ()
    return (f"the supervisor of this instance was killed; still running: {', '.join(running)}",)
