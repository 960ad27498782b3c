"""Ports, health checks and needs of containers."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Self

from pydantic import model_validator

from devbox.model.container import Health, Port
from devbox.roles.fields import (
    Command,
    Duration,
    Model,
    Text,
    Whole,
    build_annotations,
    check_name,
    describe_type,
    parse_environment,
)

_PORT = re.compile(
    r"""(?:(?:(?P<address>[0-9.]+|\[[0-9a-fA-F:.]+\]):)?(?P<host>\d+):)?
        (?P<container>\d+)(?:/(?P<protocol>tcp|udp))?""",
    re.VERBOSE,
)
_NUMBERS = range(1, 65536)
_PORT_HELP = 'write 8000, "8080:80" or "127.0.0.1:8080:80/udp"'


def parse_port(value: Any) -> Port:
    """Parse a port: `8000` is a container port; "[ADDR:]HOST:CONTAINER[/udp]" fixes the host side."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected a port, got {describe_type(value)}; {_PORT_HELP}")
    match = _PORT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"expected a port, got {value!r}; {_PORT_HELP}")
    host = int(match["host"]) if match["host"] else None
    container = int(match["container"])
    if not all(number in _NUMBERS for number in (container, host) if number is not None):
        raise ValueError(f"expected port numbers from 1 to 65535, got {value!r}")
    address = _parse_address(match["address"]) if match["address"] else "127.0.0.1"
    return Port(container=container, host=host, address=address, protocol=match["protocol"] or "tcp")


def parse_ports(value: Any) -> tuple[Port, ...]:
    """List of ports, without duplicates."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list of ports such as [8000], got {describe_type(value)}")
    ports = tuple(parse_port(item) for item in value)
    if len(set(ports)) != len(ports):
        raise ValueError("has a duplicate port")
    return ports


def _parse_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError(f"expected an IP address, got {text!r}; {_PORT_HELP}") from None


class HealthTable(Model):
    """Health check: exactly one of `http`, `tcp` and `command`, with its timing."""

    http: Text | None = None
    """Path that returns a status below 400 when the container is ready."""
    port: Whole | None = None
    """Port of `http` (default: the container's first port)."""
    tcp: Whole | None = None
    """Port that accepts connections when the container is ready."""
    command: Command | None = None
    """Command in the container that exits with 0 when the container is ready."""
    interval: Duration = 10.0
    """Interval between probes of a ready container."""
    timeout: Duration = 5.0
    """Timeout of one probe."""
    retries: Whole = 3
    """Number of consecutive failed probes that make the container unhealthy."""
    start_period: Duration = 60.0
    """Time allowed to become ready."""

    @model_validator(mode="after")
    def _check_probe(self) -> Self:
        given = [name for name in ("http", "tcp", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"it has {' and '.join(given)}" if given else "it has none"
            raise ValueError(f"requires exactly one of http, tcp and command; {found}")
        if self.http is not None and not self.http.startswith("/"):
            raise ValueError(f'http: expected a path such as "/healthz", got {self.http!r}')
        if self.port is not None and self.http is None:
            raise ValueError("port requires http; write tcp = PORT for a plain connection")
        if self.retries < 1:
            raise ValueError("retries: expected at least 1")
        return self

    def to_health(self, *, default_port: int) -> Health:
        """Return the health check; an http check without a port uses the container's first port."""
        return Health(
            command=self.command or (),
            http=self.http or "",
            tcp=self.tcp is not None,
            port=self.tcp or (self.port or default_port if self.http else 0),
            interval=self.interval,
            timeout=self.timeout,
            retries=self.retries,
            start_period=self.start_period,
        )


def parse_needs(value: Any) -> dict[str, dict[str, str]]:
    """Container names, each with the exports to rename (none: all exports under their own names)."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {_parse_need(name): {} for name in value}
    if isinstance(value, dict) and all(isinstance(renames, dict) for renames in value.values()):
        return {_parse_need(name): _parse_renames(renames) for name, renames in value.items()}
    raise ValueError('expected a list of names, or a table such as { db = { DATABASE_URL = "MAIN_URL" } }')


def _parse_need(name: str) -> str:
    for part in name.split(".", 1):
        check_name(part)
    return name


def _parse_renames(table: dict[str, Any]) -> dict[str, str]:
    renames = parse_environment(table)
    parse_environment(dict.fromkeys(renames.values(), ""))
    return renames


_PORT_SCHEMA = {"type": "array", "items": {"type": ["integer", "string"]}}
_NEEDS_SCHEMA = {
    "oneOf": [
        {"type": "array", "items": {"type": "string"}},
        {
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    ]
}
Ports = Annotated[tuple[Port, ...], *build_annotations(parse_ports, _PORT_SCHEMA)]
Needs = Annotated[dict[str, dict[str, str]], *build_annotations(parse_needs, _NEEDS_SCHEMA)]
