"""What a running router is told so that it becomes what it is to be. Pure.

The order is that in which nobody is lost: who is new is there before traffic goes to him, and traffic has gone before
who is old is let go.
"""

from __future__ import annotations

import re
from dataclasses import field

from devbox.frozen import dataclass
from devbox.routing.cohort import GENERATION, LEASED, LEASES, SLOW, keys
from devbox.routing.config import CHECKS, DIRECTORY, SHARE, SHARE_KEY, endpoint, told_of
from devbox.routing.state import RouterState, Server, is_backup

_COLUMNS = {"backend": 1, "name": 3, "address": 4, "operation": 5, "administration": 6, "port": 18}
_LEASES = f"# table: {LEASES},"
_LEASED = re.compile(rf"\bkey={LEASED} .*\bexp=[1-9]")
_UP = ("1", "2")  # operational states: starting slowly, running
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x04 | 0x20, 0x08 | 0x10  # of the administrative state, see `management.txt`


@dataclass(frozen=True, kw_only=True)
class SeenServer:
    """A server as HAProxy has it. `takes`: it gets requests as far as it is asked; `up`: and its checks succeed."""

    server: Server
    takes: bool
    up: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a running router does now. `more`: what its map holds beside the share.

    `lent`: whether a share that is lent counts yet; None where the router goes by its wall clock instead, as one does
    that an earlier devbox started.
    """

    servers: dict[str, dict[str, SeenServer]] = field(default_factory=dict)
    share: int = 0
    more: dict[str, str] = field(default_factory=dict)
    lent: bool | None = None

    def effective(self, *, clock: int) -> int:
        """The share that it goes by, at a moment in seconds since the epoch: one that was lent may have run out."""
        return int(self.more.get("safe", "0")) if self.has_run_out(clock=clock) else self.share

    def has_run_out(self, *, clock: int) -> bool:
        """Whether its share was lent, and counts no more."""
        lease = int(self.more.get("lease", "0"))
        return lease > 0 and (lease < clock if self.lent is None else not self.lent)


ASK_SERVERS = "show servers state"
ASK_SHARE = f"show map {DIRECTORY}/{SHARE};show table {LEASES}"


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
            server=server, takes=takes, up=takes and facts["operation"] in _UP
        )
    held, lent = _map(share), bool(_LEASED.search(share)) if _LEASES in share else None
    return Seen(servers=found, share=int(held.pop(SHARE_KEY, "0")), more=held, lent=lent)


def admissions(wanted: RouterState, now: Seen) -> tuple[str, ...]:
    """First: who is to serve, and does not."""
    commands: list[str] = []
    for backend, servers in wanted.servers().items():
        have, side = now.servers.get(backend, {}), backend.rpartition(".")[2]
        for server in servers.values():
            place, known = f"{backend}/{server.name}", have.get(server.name)
            if known is not None and endpoint(known.server) != endpoint(server):
                commands += [f"set server {place} state maint", f"del server {place}"]
                known = None
            if known is None and server.check:
                commands.append(f"add map {DIRECTORY}/{CHECKS} {server.name} {server.check}")
            if known is None:
                commands.append(f"add server {place} {told_of(wanted, side, server)}")
            if known is None and not is_backup(server.name):
                # HAProxy starts a server slowly only if it was down before.
                commands += [f"enable health {place}", f"set server {place} health down"]
            if known is None or not known.takes:
                commands.append(f"set server {place} state ready")
    return tuple(commands)


def shift(wanted: RouterState, now: Seen) -> tuple[str, ...]:
    """Then: who serves whom, at once."""
    more = keys(share=wanted.share, canary=wanted.canary) if wanted.cohort else {}
    return _told(
        {"safe": more.pop("safe"), SHARE_KEY: str(wanted.share), **more} if more else {SHARE_KEY: str(wanted.share)},
        now,
    )


def lend(
    now: Seen, *, share: int, safe: int, until: int, clock: int, generation: int = 0, slow: int = 0
) -> tuple[str, ...]:
    """A share that counts for LEASE seconds, and the one that counts after them.

    `until`, `clock`: seconds since the epoch, for a router that goes by them. The order is one in which a share that
    was lent before, and has run out, does not come up again in between.
    """
    order = (SHARE_KEY, "safe", "lease") if now.has_run_out(clock=clock) else ("safe", "lease", SHARE_KEY)
    values = {SHARE_KEY: str(share), "safe": str(safe), "lease": str(until if now.lent is None else 1)}
    counted = {GENERATION: str(generation), SLOW: str(slow)}
    told = _told({**counted, **{key: values[key] for key in order}}, now)
    return told if now.lent is None else (*told, f"set table {LEASES} key {LEASED} data.gpt0 1")


def _told(values: dict[str, str], now: Seen) -> tuple[str, ...]:
    """What differs. A router that an earlier devbox started has no generation, and refuses to be told of one."""
    have = {SHARE_KEY: str(now.share), **now.more}
    wanted = {key: value for key, value in values.items() if key in have or key not in (GENERATION, SLOW)}
    return tuple(
        f"set map {DIRECTORY}/{SHARE} {key} {value}" for key, value in wanted.items() if have.get(key) != value
    )


def superfluous(wanted: RouterState, now: Seen) -> tuple[str, ...]:
    """Last: who gets no new requests, and is let go once he has answered those he has; as BACKEND/NAME."""
    keep = wanted.servers()
    return tuple(
        f"{backend}/{name}"
        for backend, servers in now.servers.items()
        for name in servers
        if name not in keep.get(backend, {})
    )


def active(servers: str, places: frozenset[str]) -> int:
    """How many requests these servers still answer, by `show stat` as CSV."""
    head, *lines = servers.lstrip("# ").splitlines()
    names = head.split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line]
    return sum(int(row["scur"] or 0) for row in rows if f"{row['pxname']}/{row['svname']}" in places)


def _map(text: str) -> dict[str, str]:
    lines = (line.split() for line in text.splitlines() if line.startswith("0x"))
    return {words[1]: words[2] for words in lines if len(words) == 3}  # noqa: PLR2004 - address, key, value
