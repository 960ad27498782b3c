"""`exec`, `ps` and `logs` through the engine protocol, for engines without fast paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from devbox.cli.locate import ProjectLocation
from devbox.engines.select import select_engine
from devbox.errors import EngineError
from devbox.model import codec
from devbox.model.observed import ObservedContainer
from devbox.model.spec import Instance

# Change directory in the container, then become the command.
_IN_DIRECTORY = ("/bin/sh", "-c", 'cd "$0" && exec "$@"')


def list_rows(location: ProjectLocation) -> list[dict[str, object]]:
    """Return the containers of an instance as rows of `ps`."""
    view = select_engine(location.paths).observe(build_instance(location))
    return [_to_row(each) for each in view.containers.values()]


def execute(
    location: ProjectLocation,
    container: str,
    argv: tuple[str, ...],
    *,
    tty: bool,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str | None = None,
) -> int:
    """Run a command in a container on this process's own streams; return its exit code."""
    engine = select_engine(location.paths)
    if user:
        raise EngineError(
            f"cannot run a command as {user}: not supported by the engine {engine.name}",
            remedy=f"devbox exec {container} -- su {user} -c COMMAND",
        )
    command = (*_IN_DIRECTORY, cwd, *argv) if cwd else argv
    return engine.exec(build_instance(location), container, command, tty=tty, env=env)


def read_logs(
    location: ProjectLocation, names: tuple[str, ...], *, follow: bool, tail: int | None
) -> Iterator[tuple[str, str, str]]:
    """Yield the log lines of containers: name, time, text."""
    lines = select_engine(location.paths).read_logs(build_instance(location), names, follow=follow, tail=tail)
    return ((line.container, line.at, line.text) for line in lines)


def build_instance(location: ProjectLocation) -> Instance:
    """Return the instance of a project, or of its stage."""
    facts = os.stat(location.root)
    return Instance(
        id=location.id,
        name=os.path.basename(location.root),
        root=location.root,
        env_file=location.env_file,
        owner=facts.st_uid,
        group=facts.st_gid,
        stage=location.stage,
    )


def _to_row(container: ObservedContainer) -> dict[str, object]:
    row: dict[str, Any] = codec.dump(container)
    return {name: row[name] for name in _PUBLIC}


_PUBLIC = (  # keys of `ps --json`, in this order
    *("name", "role", "state", "health", "image", "digest", "pid"),
    *("ports", "restarts", "exit_code", "reason", "started_at"),
)
