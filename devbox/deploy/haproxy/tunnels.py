"""Connections that end alike whether their server closes them or is killed: WebSockets and bodies without a length.

The kernel of a killed server closes its connections in order. HAProxy has the same termination state (`--`), counters
and log line then as after an orderly end: see docs/adr/0074-tunnels.md. So HAProxy counts how many are open at each
server, and devbox, which knows when a replica ended, how many may have been cut.
"""

from __future__ import annotations

import re
from dataclasses import replace

from devbox.deploy.haproxy import stick_table
from devbox.model.frozen import dataclass
from devbox.model.router import PANIC, RESCUE

TABLE = "devbox.tunnels"
ASK = f"show table {TABLE}"
_TRACKED = 4  # the stick counter; see `seconds.STICK_COUNTERS`
_ROLE = re.compile(f"^(?:{RESCUE}|{PANIC})")  # before the name of a server that stands in for another side
_LATE = 5.0  # seconds until the end of a replica is written down
_IS_ONE = "{ var(txn.tunnel) -m bool }"


@dataclass(frozen=True, kw_only=True)
class EndedTunnels:
    """Tunnels that were there at one reading and gone at the next one, at `at`."""

    at: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Tunnels:
    """Those of one replica: how many are open, how many were begun since the router started, which ended of late."""

    open: int
    begun: int
    ended: tuple[EndedTunnels, ...] = ()


def render_table() -> str:
    """The backend that holds the counters. About 0.2 KB for each replica."""
    return f"""\
backend {TABLE}
    stick-table type string len 128 size 1k store conn_cur,gpc(1)
"""


def render_rules() -> list[str]:
    """Count a response whose end is not known by its length, as long as it lasts."""
    no_length = "!{ res.fhdr(content-length) -m found } !{ res.fhdr(transfer-encoding) -m found }"
    return [
        "http-response set-var(txn.tunnel) bool(true) if { status 101 }",
        f"http-response set-var(txn.tunnel) bool(true) if {{ status 200 }} {no_length}",
        f"http-response track-sc{_TRACKED} srv_name table {TABLE} if {_IS_ONE}",
        f"http-response sc-inc-gpc(0,{_TRACKED}) if {_IS_ONE}",
    ]


def read(answer: str) -> dict[str, Tunnels]:
    """By container, from the answer to ASK."""
    found: dict[str, Tunnels] = {}
    for key, entry in stick_table.read_entries(answer).items():
        name = _ROLE.sub("", key)
        before = found.get(name, Tunnels(open=0, begun=0))
        found[name] = Tunnels(open=before.open + entry.open, begun=before.begun + entry.counts[0])
    return found


def follow(before: Tunnels | None, now: Tunnels, *, at: float) -> Tunnels:
    """A later reading, with those that ended since the one before it, and in the last seconds before that.

    HAProxy sees the end of a killed replica's connections before its supervisor has written down the end.
    """
    if before is None or now.begun < before.begun:
        return now
    count = before.open + now.begun - before.begun - now.open
    kept = tuple(each for each in before.ended if each.at > at - _LATE)
    return replace(now, ended=(*kept, EndedTunnels(at=at, count=count)) if count > 0 else kept)


def count_cut(before: Tunnels, now: Tunnels | None) -> int:
    """How many may have been cut, at most, if their replica is known to have ended since a reading.

    Those open then, begun since, or ended shortly before.
    """
    begun = max(0, now.begun - before.begun) if now else 0
    return before.open + begun + sum(each.count for each in before.ended)
