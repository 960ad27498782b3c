"""Addresses of published ports, in the form opened by users."""

from __future__ import annotations

import sys

from devbox.cli.terminal import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devbox.commands.table.options import Args
    from devbox.records.noop import NoopRecord

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - wildcard addresses → loopback
# Roles whose ports are assumed to speak HTTP; those of services only with a common port number.
_WEB_ROLES = ("dev", "glue")
_WEB_PORTS = (80, 8080)  # of the container
_ROUTER, _METRICS, _PATH = "router", 8404, "/metrics"  # of a stage, see `deploy.stage_containers` and `haproxy.metrics`


def format_address(role: str, port: Mapping[str, object]) -> str:
    """Format a published port (as in `ps --json`): a URL, or ADDRESS:PORT."""
    web = port["protocol"] == "tcp" and (role in _WEB_ROLES or port["container"] in _WEB_PORTS)
    return f"{'http://' if web else ''}{format_socket(port)}"


def format_socket(port: Mapping[str, object]) -> str:
    """Format the host's side of a published port for clients: ADDRESS:PORT."""
    host = _ANY.get(str(port["address"]), str(port["address"]))
    return f"{f'[{host}]' if ':' in host else host}:{port['host']}"


def format_port(row: Mapping[str, object], port: Mapping[str, object]) -> str:
    """Format a container's published port (as in `ps --json`); for a router's metrics port, with the path."""
    if is_metrics(row, port):
        return f"{format_address(str(row['role']), port)}{_PATH}"
    return format_mapping(str(row["role"]), port)


def format_mapping(role: str, port: Mapping[str, object]) -> str:
    """Format a published port, after the container's port if the host port differs: `8000 → URL`."""
    before = f"{port['container']} → " if port["container"] != port["host"] else ""
    return f"{before}{format_address(role, port)}"


def list_ports(row: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the published ports of a container."""
    found = row["ports"]
    return found if isinstance(found, list) else []


def is_metrics(row: Mapping[str, object], port: Mapping[str, object]) -> bool:
    """True if a port serves Prometheus rather than clients."""
    return row["name"] == row["image"] == _ROUTER and port["container"] == _METRICS


def choose_container(ports: Mapping[str, object]) -> str:
    """Return the default container: dev, or without a dev the first one that publishes a port.

    `ports`: ports of each container by name.
    """
    return "dev" if "dev" in ports else next((name for name, own in ports.items() if own), "dev")


def format_table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines of two aligned columns."""
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in pairs]


def print_addresses(args: Args, found: NoopRecord, *, idle: bool) -> None:
    """Print the addresses on stdout; on stderr, whether this was a no-op, and the next steps."""
    loud = args.get_text("progress") not in ("quiet", "json")
    if loud and idle:
        print_line("· nothing to do: everything is up to date")
    for line in found.addresses:
        print_line(line, stream=sys.stdout)
    if loud:
        print_line(f"  → {_suggest_next(args, found.shell)}")


def _suggest_next(args: Args, container: str) -> str:
    """Suggest the next steps, valid in the user's directory."""
    devbox = "devbox"
    if place := args.get_text("directory"):
        import shlex

        devbox += f" -C {shlex.quote(place)}"
    shell = "shell" if container == "dev" else f"shell {container}".strip()
    return " · ".join(f"{devbox} {words}" for words in (shell, "logs -f", "ps", "down"))
