"""The addresses of published ports, as a user opens them."""

from __future__ import annotations

import sys

from devbox.cli.terminal import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devbox.commands.table.options import Args
    from devbox.records.noop import NoopRecord

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what a browser uses for "everywhere"
# Whose ports speak HTTP as far as anyone can tell from the file; a service's only where its number says so.
_WEB_ROLES = ("dev", "glue")
_WEB_PORTS = (80, 8080)  # of the container
_ROUTER, _METRICS, _PATH = "router", 8404, "/metrics"  # of a stage, see `plan.staging` and `routing.metrics`


def format_address(role: str, port: Mapping[str, object]) -> str:
    """A published port (as in `ps --json`) as a person uses it: a URL, or ADDRESS:PORT."""
    host = _ANY.get(str(port["address"]), str(port["address"]))
    shown = f"[{host}]" if ":" in host else host
    web = port["protocol"] == "tcp" and (role in _WEB_ROLES or port["container"] in _WEB_PORTS)
    return f"{'http://' if web else ''}{shown}:{port['host']}"


def format_port(row: Mapping[str, object], port: Mapping[str, object]) -> str:
    """A published port of a container (as in `ps --json`); that of a stage's router with the path of its metrics."""
    if is_metrics(row, port):
        return f"{format_address(str(row['role']), port)}{_PATH}"
    return format_mapping(str(row["role"]), port)


def format_mapping(role: str, port: Mapping[str, object]) -> str:
    """The address of a published port, behind the container's port if the host has another number: `8000 → URL`."""
    before = f"{port['container']} → " if port["container"] != port["host"] else ""
    return f"{before}{format_address(role, port)}"


def list_ports(row: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The published ports of a container."""
    found = row["ports"]
    return found if isinstance(found, list) else []


def is_metrics(row: Mapping[str, object], port: Mapping[str, object]) -> bool:
    """Whether a port is there for Prometheus, not for visitors."""
    return row["name"] == row["image"] == _ROUTER and port["container"] == _METRICS


def choose_container(ports: Mapping[str, object]) -> str:
    """Which container is meant where none is named: dev, or the first that publishes a port where there is no dev.

    `ports` are those of each container by its name.
    """
    return "dev" if "dev" in ports else next((name for name, own in ports.items() if own), "dev")


def format_table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of two aligned columns."""
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in pairs]


def print_addresses(args: Args, found: NoopRecord, *, idle: bool) -> None:
    """The addresses on stdout; what to try next, and whether there was nothing to do, for a person."""
    loud = args.get_text("progress") not in ("quiet", "json")
    if loud and idle:
        print_line("· nothing to do: everything is up as the file says")
    for line in found.addresses:
        print_line(line, stream=sys.stdout)
    if loud:
        print_line(f"  → {_suggest_next(args, found.shell)}")


def _suggest_next(args: Args, container: str) -> str:
    """What to try next, as it works from where the person is."""
    devbox = "devbox"
    if place := args.get_text("directory"):
        import shlex

        devbox += f" -C {shlex.quote(place)}"
    shell = "shell" if container == "dev" else f"shell {container}".strip()
    return " · ".join(f"{devbox} {words}" for words in (shell, "logs -f", "ps", "down"))
