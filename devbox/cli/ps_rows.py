"""Rows of `ps`, read from the supervisor's state file in the public format. Light."""

from __future__ import annotations

import json

from devbox.isolation import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.cli.locate import ProjectLocation
    from devbox.isolation.types import PublishedPort


def read(location: ProjectLocation) -> list[dict[str, object]]:
    """Return the containers of an instance; none after `down`."""
    if not location.is_native:
        from devbox.cli import engine_calls

        return engine_calls.list_rows(location)
    _, found = state.read_state(location.paths, location.id)
    return [_to_row(container) for container in found.containers] if found else []


def to_json(rows: Iterable[dict[str, object]]) -> str:
    """Return the output of `ps --json`."""
    return json.dumps(list(rows)) + "\n"


def _to_row(container: state.ContainerState) -> dict[str, object]:
    """Return the public keys of `ps --json`; others of the state file are internal."""
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
