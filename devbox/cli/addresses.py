"""Where a person reaches what runs. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what a browser uses for "everywhere"
# Whose ports speak HTTP as far as anyone can tell from the file; a service's only where its number says so.
_WEB_ROLES = ("dev", "glue")
_WEB_PORTS = (80, 8080)  # of the container
_ROUTER, _METRICS, _PATH = "router", 8404, "/metrics"  # of a stage, see `plan.staging` and `routing.metrics`


def address(role: str, port: Mapping[str, object]) -> str:
    """A published port (as in `ps --json`) as a person uses it: a URL, or ADDRESS:PORT."""
    host = _ANY.get(str(port["address"]), str(port["address"]))
    shown = f"[{host}]" if ":" in host else host
    web = port["protocol"] == "tcp" and (role in _WEB_ROLES or port["container"] in _WEB_PORTS)
    return f"{'http://' if web else ''}{shown}:{port['host']}"


def shown(row: Mapping[str, object], port: Mapping[str, object]) -> str:
    """A published port of a container (as in `ps --json`); that of a stage's router with the path of its metrics."""
    if is_metrics(row, port):
        return f"{address(str(row['role']), port)}{_PATH}"
    return mapped(str(row["role"]), port)


def mapped(role: str, port: Mapping[str, object]) -> str:
    """The address of a published port, behind the container's port if the host has another number: `8000 → URL`."""
    before = f"{port['container']} → " if port["container"] != port["host"] else ""
    return f"{before}{address(role, port)}"


def ports(row: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The published ports of a container."""
    found = row["ports"]
    return found if isinstance(found, list) else []


def is_metrics(row: Mapping[str, object], port: Mapping[str, object]) -> bool:
    """Whether a port is there for Prometheus, not for visitors."""
    return row["name"] == row["image"] == _ROUTER and port["container"] == _METRICS


def front(ports: Mapping[str, object]) -> str:
    """Which container is meant where none is named: dev, or the first that publishes a port where there is no dev.

    `ports` are those of each container by its name.
    """
    return "dev" if "dev" in ports else next((name for name, own in ports.items() if own), "dev")


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of two aligned columns."""
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in pairs]
