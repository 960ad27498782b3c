"""Where a person reaches what runs. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what a browser uses for "everywhere"
# Whose ports speak HTTP as far as anyone can tell from the file; a service's port is shown as an address only.
_WEB_ROLES = ("dev", "glue")


def address(role: str, port: Mapping[str, object]) -> str:
    """A published port (as in `ps --json`) as a person uses it: a URL, or ADDRESS:PORT."""
    host = _ANY.get(str(port["address"]), str(port["address"]))
    shown = f"[{host}]" if ":" in host else host
    scheme = "http://" if role in _WEB_ROLES and port["protocol"] == "tcp" else ""
    return f"{scheme}{shown}:{port['host']}"


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of two aligned columns."""
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in pairs]
