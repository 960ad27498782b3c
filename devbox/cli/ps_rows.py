"""What runs, as `ps` tells it: read from the supervisor's state file, in the published shape. Light."""

from __future__ import annotations

import json

from devbox.isolation import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.cli.locate import ProjectLocation
    from devbox.isolation.types import PublishedPort


def read(place: ProjectLocation) -> list[dict[str, object]]:
    """The containers of an instance; none after `down`."""
    _, found = state.read_state(place.paths, place.id)
    return [_to_row(container) for container in found.containers] if found else []


def to_json(rows: Iterable[dict[str, object]]) -> str:
    """`ps --json`."""
    return json.dumps(list(rows)) + "\n"


def _to_row(container: state.ContainerState) -> dict[str, object]:
    """The keys that `ps --json` promises; everything else of the state file is devbox's own."""
    return {
        "name": container.name,
        "role": container.role,
        "state": container.state,
        "health": container.health,
        "image": container.image,
        "digest": container.digest,
        "pid": container.process.pid if container.process else None,
        "ports": [_to_port(port) for port in container.ports],
        "restarts": container.restarts,
        "exit_code": container.exit_code,
        "reason": container.reason,
        "started_at": container.started_at,
    }


def _to_port(port: PublishedPort) -> dict[str, object]:
    return {"host": port.host, "address": port.address, "container": port.container, "protocol": port.protocol}
