"""Commands that converge a running router to its desired state. Pure.

Ordered so that no request is lost: new servers are added before traffic moves to them, and old servers are removed
after traffic has left.
"""

from __future__ import annotations

import re
from dataclasses import field

from devbox.deploy.haproxy.cohort import GENERATION, LEASED, LEASES, SLOW, build_map_entries
from devbox.deploy.haproxy.config import CHECKS, DIRECTORY, SHARE, SHARE_KEY, format_endpoint, format_server
from devbox.model.frozen import dataclass
from devbox.model.router import RouterState, Server, is_backup

_COLUMNS = {"backend": 1, "name": 3, "address": 4, "operation": 5, "administration": 6, "port": 18}
_LEASES = f"# table: {LEASES},"
_LEASED = re.compile(rf"\bkey={LEASED} .*\bexp=[1-9]")
_UP = ("1", "2")  # operational states: slow start, running
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x04 | 0x20, 0x08 | 0x10  # administrative states, see `management.txt`


@dataclass(frozen=True, kw_only=True)
class RuntimeServer:
    """A server in HAProxy. `takes`: accepts requests; `up`: and passes its checks."""

    server: Server
    takes: bool
    up: bool


@dataclass(frozen=True, kw_only=True)
class RouterRuntime:
    """State of a running router. `more`: map entries besides the share.

    `lent`: whether a leased share is still valid; None if the router uses its wall clock, as those started by an
    earlier devbox do.
    """

    servers: dict[str, dict[str, RuntimeServer]] = field(default_factory=dict)
    share: int = 0
    more: dict[str, str] = field(default_factory=dict)
    lent: bool | None = None

    def compute_share(self, *, clock: int) -> int:
        """Return the effective share at `clock` (seconds since the epoch); a lease may have expired."""
        return int(self.more.get("safe", "0")) if self.has_expired(clock=clock) else self.share

    def has_expired(self, *, clock: int) -> bool:
        """True if the share was leased and the lease has expired."""
        lease = int(self.more.get("lease", "0"))
        return lease > 0 and (lease < clock if self.lent is None else not self.lent)


ASK_SERVERS = "show servers state"
ASK_SHARE = f"show map {DIRECTORY}/{SHARE};show table {LEASES}"


def parse_runtime(servers: str, share: str) -> RouterRuntime:
    """Parse the answers to the two queries."""
    found: dict[str, dict[str, RuntimeServer]] = {}
    for line in servers.splitlines():
        words = line.split()
        if len(words) <= max(_COLUMNS.values()) or not words[0].isdigit():
            continue
        facts = {name: words[at] for name, at in _COLUMNS.items()}
        server = Server(name=facts["name"], address=facts["address"], port=int(facts["port"]))
        state = int(facts["administration"])
        takes = not state & (_MAINTENANCE | _DRAINING)
        found.setdefault(facts["backend"], {})[server.name] = RuntimeServer(
            server=server, takes=takes, up=takes and facts["operation"] in _UP
        )
    held, lent = _parse_map(share), bool(_LEASED.search(share)) if _LEASES in share else None
    return RouterRuntime(servers=found, share=int(held.pop(SHARE_KEY, "0")), more=held, lent=lent)


def plan_admissions(desired: RouterState, now: RouterRuntime) -> tuple[str, ...]:
    """Return the first phase: add and enable servers."""
    commands: list[str] = []
    for backend, servers in desired.list_servers().items():
        have, side = now.servers.get(backend, {}), backend.rpartition(".")[2]
        for server in servers.values():
            place, known = f"{backend}/{server.name}", have.get(server.name)
            if known is not None and format_endpoint(known.server) != format_endpoint(server):
                commands += [f"set server {place} state maint", f"del server {place}"]
                known = None
            if known is None and server.check:
                commands.append(f"add map {DIRECTORY}/{CHECKS} {server.name} {server.check}")
            if known is None:
                commands.append(f"add server {place} {format_server(desired, side, server)}")
            if known is None and not is_backup(server.name):
                # HAProxy applies slow start only to servers that were down.
                commands += [f"enable health {place}", f"set server {place} health down"]
            if known is None or not known.takes:
                commands.append(f"set server {place} state ready")
    return tuple(commands)


def plan_shift(desired: RouterState, now: RouterRuntime) -> tuple[str, ...]:
    """Return the second phase: move the traffic at once."""
    more = build_map_entries(share=desired.share, canary=desired.canary) if desired.cohort else {}
    return _diff_map(
        {"safe": more.pop("safe"), SHARE_KEY: str(desired.share), **more} if more else {SHARE_KEY: str(desired.share)},
        now,
    )


def plan_lease(
    now: RouterRuntime, *, share: int, safe: int, until: int, clock: int, generation: int = 0, slow: int = 0
) -> tuple[str, ...]:
    """Return the commands that lease a share for LEASE seconds, followed by `safe`.

    `until`, `clock`: seconds since the epoch, for routers that use their wall clock. The order never makes an expired
    earlier lease valid again in between.
    """
    order = (SHARE_KEY, "safe", "lease") if now.has_expired(clock=clock) else ("safe", "lease", SHARE_KEY)
    values = {SHARE_KEY: str(share), "safe": str(safe), "lease": str(until if now.lent is None else 1)}
    counted = {GENERATION: str(generation), SLOW: str(slow)}
    commands = _diff_map({**counted, **{key: values[key] for key in order}}, now)
    return commands if now.lent is None else (*commands, f"set table {LEASES} key {LEASED} data.gpt0 1")


def _diff_map(values: dict[str, str], now: RouterRuntime) -> tuple[str, ...]:
    """Return the changed entries. Routers of an earlier devbox have no generation and reject one."""
    have = {SHARE_KEY: str(now.share), **now.more}
    desired = {key: value for key, value in values.items() if key in have or key not in (GENERATION, SLOW)}
    return tuple(
        f"set map {DIRECTORY}/{SHARE} {key} {value}" for key, value in desired.items() if have.get(key) != value
    )


def find_superfluous(desired: RouterState, now: RouterRuntime) -> tuple[str, ...]:
    """Return the last phase: servers to remove once their requests have ended, as BACKEND/NAME."""
    keep = desired.list_servers()
    return tuple(
        f"{backend}/{name}"
        for backend, servers in now.servers.items()
        for name in servers
        if name not in keep.get(backend, {})
    )


def count_active(servers: str, places: frozenset[str]) -> int:
    """Count the active requests of servers, from `show stat` in CSV."""
    head, *lines = servers.lstrip("# ").splitlines()
    names = head.split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line]
    return sum(int(row["scur"] or 0) for row in rows if f"{row['pxname']}/{row['svname']}" in places)


def _parse_map(text: str) -> dict[str, str]:
    lines = (line.split() for line in text.splitlines() if line.startswith("0x"))
    return {words[1]: words[2] for words in lines if len(words) == 3}  # noqa: PLR2004 - address, key, value
