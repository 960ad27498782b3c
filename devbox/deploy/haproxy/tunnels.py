"""Connections that end alike whether their server closes them or is killed: WebSockets, bodies without length.

The kernel of a killed server closes its connections cleanly, so that HAProxy has the same termination state (`--`),
counters and log line as for a normal end: see docs/adr/0074-tunnels.md. HAProxy counts the open tunnels of each server;
devbox, which knows when a replica ended, derives how many may have been cut.
"""

from __future__ import annotations

import re
from dataclasses import replace

from devbox.deploy.haproxy import seconds
from devbox.model.frozen import dataclass
from devbox.model.router import PANIC, RESCUE

TABLE = "devbox.tunnels"
ASK = f"show table {TABLE}"
_TRACKED = 4  # the stick counter; see `seconds.STICK_COUNTERS`
_ROLE = re.compile(f"^(?:{RESCUE}|{PANIC})")  # prefix of servers that stand in for another side
_LATE = 5.0  # maximum delay in seconds until a replica's end is recorded
_IS_ONE = "{ var(txn.tunnel) -m bool }"


@dataclass(frozen=True, kw_only=True)
class EndedTunnels:
    """Tunnels present at one reading and gone at the next one, at `at`."""

    at: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Tunnels:
    """Tunnels of one replica: open, begun since the router's start, and recently ended."""

    open: int
    begun: int
    ended: tuple[EndedTunnels, ...] = ()


def render_table() -> str:
    """Render the backend of the counters; about 0.2 KB per replica."""
    return f"""\
backend {TABLE}
    stick-table type string len 128 size 1k store conn_cur,gpc(1)
"""


def render_rules() -> list[str]:
    """Render the rules that count a response without a known length while it lasts."""
    no_length = "!{ res.fhdr(content-length) -m found } !{ res.fhdr(transfer-encoding) -m found }"
    return [
        "http-response set-var(txn.tunnel) bool(true) if { status 101 }",
        f"http-response set-var(txn.tunnel) bool(true) if {{ status 200 }} {no_length}",
        f"http-response track-sc{_TRACKED} srv_name table {TABLE} if {_IS_ONE}",
        f"http-response sc-inc-gpc(0,{_TRACKED}) if {_IS_ONE}",
    ]


def read(answer: str) -> dict[str, Tunnels]:
    """Parse the answer to ASK, by container."""
    found: dict[str, Tunnels] = {}
    for key, entry in seconds.read_stick_table(answer).items():
        name = _ROLE.sub("", key)
        before = found.get(name, Tunnels(open=0, begun=0))
        found[name] = Tunnels(open=before.open + entry.open, begun=before.begun + entry.counts[0])
    return found


def follow(before: Tunnels | None, now: Tunnels, *, at: float) -> Tunnels:
    """Merge a reading with the previous one: tunnels that ended in between or in the last seconds before.

    HAProxy sees a killed replica's connections end before the supervisor has recorded its end.
    """
    if before is None or now.begun < before.begun:
        return now
    count = before.open + now.begun - before.begun - now.open
    kept = tuple(each for each in before.ended if each.at > at - _LATE)
    return replace(now, ended=(*kept, EndedTunnels(at=at, count=count)) if count > 0 else kept)


def count_cut(before: Tunnels, now: Tunnels | None) -> int:
    """Return the maximum of tunnels cut by a replica that ended after the reading `before`.

    Counts those open then, begun since, or ended shortly before.
    """
    begun = max(0, now.begun - before.begun) if now else 0
    return before.open + begun + sum(each.count for each in before.ended)
