"""What a running router is told so that it becomes what it is to be. Pure.

The order is that in which nobody is lost: who is new is there before traffic goes to him, and traffic has gone before
who is old is let go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from devbox.routing.config import CHECKED, CHECKS, DIRECTORY, SHARE, SHARE_KEY, endpoint
from devbox.routing.state import RouterState, Server

_COLUMNS = {"backend": 1, "name": 3, "address": 4, "operation": 5, "administration": 6, "port": 18}
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x04 | 0x20, 0x08 | 0x10  # of the administrative state, see `management.txt`


@dataclass(frozen=True, kw_only=True)
class SeenServer:
    """A server as HAProxy has it. `takes`: it gets requests as far as it is asked; `up`: and its checks succeed."""

    server: Server
    takes: bool
    up: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a running router does now."""

    servers: dict[str, dict[str, SeenServer]] = field(default_factory=dict)
    share: int = 0


ASK_SERVERS = "show servers state"
ASK_SHARE = f"show map {DIRECTORY}/{SHARE}"


def seen(servers: str, share: str) -> Seen:
    """From the answers to the two questions."""
    found: dict[str, dict[str, SeenServer]] = {}
    for line in servers.splitlines():
        words = line.split()
        if len(words) <= max(_COLUMNS.values()) or not words[0].isdigit():
            continue
        facts = {name: words[at] for name, at in _COLUMNS.items()}
        server = Server(name=facts["name"], address=facts["address"], port=int(facts["port"]))
        state = int(facts["administration"])
        takes = not state & (_MAINTENANCE | _DRAINING)
        found.setdefault(facts["backend"], {})[server.name] = SeenServer(
            server=server, takes=takes, up=takes and facts["operation"] == "2"
        )
    return Seen(servers=found, share=_share(share))


def admissions(wanted: RouterState, now: Seen) -> tuple[str, ...]:
    """First: who is to serve, and does not."""
    commands: list[str] = []
    for backend, servers in wanted.servers().items():
        have = now.servers.get(backend, {})
        for server in servers.values():
            place, known = f"{backend}/{server.name}", have.get(server.name)
            if known is not None and endpoint(known.server) != endpoint(server):
                commands += [f"set server {place} state maint", f"del server {place}"]
                known = None
            if known is None and server.check:
                commands.append(f"add map {DIRECTORY}/{CHECKS} {server.name} {server.check}")
            if known is None:
                commands += [f"add server {place} {endpoint(server)} {CHECKED}", f"enable health {place}"]
            if known is None or not known.takes:
                commands.append(f"set server {place} state ready")
    return tuple(commands)


def shift(wanted: RouterState, now: Seen) -> tuple[str, ...]:
    """Then: who serves whom, at once."""
    return () if wanted.share == now.share else (f"set map {DIRECTORY}/{SHARE} {SHARE_KEY} {wanted.share}",)


def superfluous(wanted: RouterState, now: Seen) -> tuple[str, ...]:
    """Last: who gets no new requests, and is let go once he has answered those he has; as BACKEND/NAME."""
    keep = wanted.servers()
    return tuple(
        f"{backend}/{name}" for backend, servers in now.servers.items() for name in servers if name not in keep[backend]
    )


def active(servers: str, places: frozenset[str]) -> int:
    """How many requests these servers still answer, by `show stat` as CSV."""
    head, *lines = servers.lstrip("# ").splitlines()
    names = head.split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line]
    return sum(int(row["scur"] or 0) for row in rows if f"{row['pxname']}/{row['svname']}" in places)


def _share(text: str) -> int:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == SHARE_KEY:  # noqa: PLR2004 - address, key, value
            return int(words[2])
    return 0
