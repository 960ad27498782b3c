"""Shell activation of a project (`devbox hook`): the environment changes on entering and on leaving. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field

from devbox.model import jsontext
from devbox.model.frozen import dataclass
from devbox.model.host_access import ShellToolsAccess, ShellVariableAccess
from devbox.model.observed import BoundPort
from devbox.model.spec import Spec
from devbox.plan import tasks

ACTIVE = "DEVBOX_ACTIVE"  # root directory of the active project
BEFORE = "DEVBOX_BEFORE"  # previous values as JSON: {"path": …, "variables": {NAME: value or null}}
_PATH = "PATH"
_EXPORTED_NAME = re.compile(r"(?!PATH$|DEVBOX_)[A-Za-z_][A-Za-z0-9_]*")  # excludes PATH and devbox's own variables

Environment = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Activation:
    """Shell changes of a project: variables, and a directory prepended to PATH ("" for none)."""

    root: str
    path: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


def list_access(spec: Spec) -> tuple[ShellToolsAccess | ShellVariableAccess, ...]:
    """Return the shell access that `devbox trust` allows: commands on PATH and exported variables."""
    where = spec.instance.env_file
    commands = " ".join(list_shims(spec))
    exports = [
        ShellVariableAccess(variable=name, service=service, where=where)
        for service, variables in spec.exports.items()
        for name in variables
        if _list_published(spec, service) and _EXPORTED_NAME.fullmatch(name)
    ]
    own = [ShellToolsAccess(commands=commands, where=where)] if commands else []
    return (*own, *exports)


def build_variables(spec: Spec, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the exported variables of services with published ports, addresses translated for the host.

    `ports`: host ports by "NAME/8000/tcp".
    """
    found: dict[str, str] = {}
    for service, exports in spec.exports.items():
        known = [port for at in _list_published(spec, service) if (port := _find_bound(service, at, spec, ports))]
        if known:
            variables = {name: value for name, value in exports.items() if _EXPORTED_NAME.fullmatch(name)}
            found |= {name: _translate_value(value, service, known) for name, value in variables.items()}
    return found


def list_shims(spec: Spec) -> tuple[str, ...]:
    """Return the commands of the project's tools."""
    return tasks.list_shims(spec.tools)


def enter(environment: Environment, activation: Activation) -> dict[str, str]:
    """Return the environment with the activation applied; no project is active in `environment`."""
    kept = {name: environment.get(name) for name in activation.variables}
    before = json.dumps({"path": activation.path, "variables": kept})
    found = {**environment, **activation.variables, ACTIVE: activation.root, BEFORE: before}
    if activation.path:
        found[_PATH] = ":".join([activation.path, *_remove_directory(environment.get(_PATH, ""), activation.path)])
    return found


def leave(environment: Environment) -> dict[str, str]:
    """Return the environment before `enter`; later changes are undone, except for other entries of PATH."""
    found = {name: value for name, value in environment.items() if name not in (ACTIVE, BEFORE)}
    path, kept = _read(environment.get(BEFORE, ""))
    if path and _PATH in found:
        found[_PATH] = ":".join(_remove_directory(found[_PATH], path))
    for name, value in kept.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


def _read(text: str) -> tuple[str, dict[str, str | None]]:
    try:
        plain = jsontext.loads(text or "{}")
        kept = {str(name): value for name, value in plain.get("variables", {}).items()}
        return str(plain.get("path", "")), {
            name: value for name, value in kept.items() if value is None or isinstance(value, str)
        }
    except (ValueError, AttributeError):
        return "", {}


def _remove_directory(path: str, directory: str) -> list[str]:
    return [part for part in path.split(":") if part != directory] if path else []


def _list_published(spec: Spec, service: str) -> list[int]:
    """Return the TCP ports of a service that are reachable from the host."""
    container = spec.containers.get(service)
    return [port.container for port in container.ports if port.protocol == "tcp"] if container else []


def _find_bound(service: str, container: int, spec: Spec, ports: Mapping[str, int]) -> BoundPort | None:
    desired = next(port for port in spec.containers[service].ports if port.container == container)
    host = desired.host or ports.get(f"{service}/{container}/tcp")
    address = "127.0.0.1" if desired.address == "0.0.0.0" else desired.address  # noqa: S104 - compared
    return BoundPort(host=host, address=address, container=container, protocol="tcp") if host else None


def _translate_value(value: str, service: str, ports: list[BoundPort]) -> str:
    """Replace `db:5432`, and a value of only `db` or `5432`, by the address on the host."""
    for port in ports:
        if value == str(port.container):
            return str(port.host)
        value = re.sub(rf"(?<![\w.-]){re.escape(service)}:{port.container}(?!\d)", f"{port.address}:{port.host}", value)
    return ports[0].address if value == service else value
