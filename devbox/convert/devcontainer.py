"""Conversion of `[dev]` to devcontainer.json, for tools that use Dev Containers with Docker or Podman. Pure.

The image is built by devbox and loaded into the engine before the container is created. Features that only devbox
supports are omitted and reported.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from devbox.envfile.load import EnvFile
from devbox.errors import EnvFileError
from devbox.model.container import Isolation, Limits, Secret
from devbox.roles import dev
from devbox.roles.dev import DevTable
from devbox.roles.fields import CommandItem

_PROJECT_DIRECTORY = "${localWorkspaceFolder}"  # project directory on the editor's host


def build_document(env: EnvFile) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the document, and one sentence per omitted feature. EnvFileError without `[dev]`."""
    table = env.document.find(dev.ROLE)
    if table is None:
        raise EnvFileError(
            "missing [dev], from which the dev container is built",
            where=env.locate(()),
            remedy='[dev]\nrecipe = "debian"',
        )
    isolation = table.isolation.to_isolation()
    plain: dict[str, Any] = {
        "name": env.name,
        **_build_image(table, env.name),
        "workspaceFolder": table.workspace,
        "workspaceMount": f"source={_PROJECT_DIRECTORY},target={table.workspace},type=bind",
        "mounts": list(_list_mounts(table, env.name)),
        "containerEnv": dict(table.env),
        "remoteEnv": _map_caller_secrets(table.secrets),
        "containerUser": table.user,
        "forwardPorts": [port.container for port in table.ports if port.protocol == "tcp"],
        "postCreateCommand": " && ".join(map(_format_command, table.setup.run)) if table.setup else None,
        "init": True,
        "capAdd": [name for name in isolation.capabilities if not name.startswith("-")],
        "securityOpt": ["no-new-privileges"],
        "runArgs": [*_list_isolation_options(isolation), *_list_limit_options(table.limits.to_limits())],
    }
    return {key: value for key, value in plain.items() if value not in (None, [], {})}, tuple(
        _list_missing(table, isolation)
    )


def _build_image(table: DevTable, project: str) -> dict[str, Any]:
    """Return a registry's unmodified image, or the image built by devbox."""
    as_it_is = not (table.packages or table.run)
    if table.image and as_it_is:
        return {"image": table.image}
    name = f"devbox/{project}-dev"
    command = ["devbox", "image", "export", "dev", "--to", "docker", "--tag", name]
    return {"image": name, "initializeCommand": command}


def _list_mounts(table: DevTable, project: str) -> Iterator[str]:
    for name, target in table.volumes.items():
        yield f"source={project}-{name},target={target},type=volume"
    for item in table.mounts:
        read_only = ",readonly" if item.read_only else ""
        yield f"source={_PROJECT_DIRECTORY}/{item.source},target={item.target},type=bind{read_only}"
    for target in table.tmpfs:
        yield f"target={target},type=tmpfs"


def _map_caller_secrets(secrets: Mapping[str, Secret]) -> dict[str, str]:
    """Return secrets that are variables of the caller; their values are not written."""
    named = {name: secret.reference.partition(":")[2] for name, secret in secrets.items() if _is_portable(secret)}
    return {variable: f"${{localEnv:{name}}}" for variable, name in named.items()}


def _is_portable(secret: Secret) -> bool:
    return secret.reference.startswith("env:") and not secret.file


def _format_command(command: CommandItem) -> str:
    """Format a command as one part of a shell command line."""
    return f"( {command} )" if isinstance(command, str) else shlex.join(command)


def _list_isolation_options(isolation: Isolation) -> Iterator[str]:
    yield from (f"--cap-drop={name[1:]}" for name in isolation.capabilities if name.startswith("-"))
    if isolation.read_only:
        yield "--read-only"
    if isolation.network == "none":
        yield "--network=none"


def _list_limit_options(limits: Limits) -> Iterator[str]:
    if limits.memory is not None:
        yield f"--memory={limits.memory}"
    if limits.cpus is not None:
        yield f"--cpus={limits.cpus:g}"
    if limits.pids is not None:
        yield f"--pids-limit={limits.pids}"


def _list_missing(table: DevTable, isolation: Isolation) -> Iterator[str]:
    others = [name for name, secret in table.secrets.items() if not _is_portable(secret)]
    if table.needs:
        yield f"needs ({', '.join(table.needs)}): services run in devbox; those with `ports` are reached on the host"
    if table.command:
        yield "command: start it in a terminal of the editor"
    if others:
        yield f"secrets ({', '.join(others)}): only those from env: that are variables are kept"
    if table.env_files:
        yield f"env_files ({', '.join(table.env_files)}): their values would be stored in the file"
    if isolation.egress is not None:
        yield "isolation.egress: not supported by Docker"
