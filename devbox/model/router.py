"""Desired router state: ports and their backends, the servers of each side, the traffic share of the green side.

The sides are symmetric; their roles alternate with every release. One number moves the traffic of all ports at once, so
that no client sees two releases at the same time.
"""

from __future__ import annotations

from dataclasses import replace

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass

RESCUE = "rescue-"  # prefix of stable's servers in the canary's backend, used while none of the canary's is up
PANIC = "panic-"  # prefix of second copies of servers in their own backend, used while none of its servers is up
BASELINE = "baseline"  # the group of servers for a part of stable's clients during a gray release
ROUTER = "router"  # the name of the router's container, and of its image
BLUE, GREEN = "blue", "green"
GROUPS = (BLUE, GREEN, BASELINE)  # of servers: both sides, and fresh replicas of stable next to a canary
WHOLE = 10_000  # all clients; a client's bucket is below it


@dataclass(frozen=True, kw_only=True)
class StickyKey:
    """The key of sticky sessions: this cookie, or this header if a request has it.

    `baseline`: as many of stable's clients as the canary has may be sent to fresh replicas of stable.
    """

    cookie: str = "devbox_cohort"
    header: str = ""
    baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Cohort(StickyKey):
    """A sticky key with the signing key of cookies, in base64: its holder can choose a bucket."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """A serving container: its name, its address in the instance's network, the port it listens on.

    `check`: a path with a successful response while it can serve; "": it accepts connections.
    """

    name: str
    address: str
    port: int
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Frontend:
    """A port of the router, and its process. `asks`: servers are checked by their paths.

    `baseline`: servers of a group that exists only during a gray release; see `Cohort.baseline`.
    """

    process: str
    port: int
    asks: bool = False
    blue: tuple[Server, ...] = ()
    green: tuple[Server, ...] = ()
    baseline: tuple[Server, ...] = ()

    def get_servers(self, side: str) -> tuple[Server, ...]:
        """Return the servers of one of GROUPS."""
        return {BLUE: self.blue, GREEN: self.green, BASELINE: self.baseline}[side]

    def replace_side(self, side: str, servers: tuple[Server, ...]) -> Frontend:
        """Return the frontend with other servers in one of GROUPS."""
        if side == BASELINE:
            return replace(self, baseline=servers)
        return replace(self, blue=servers) if side == BLUE else replace(self, green=servers)

    def get_backend_name(self, side: str) -> str:
        """Return the name of a side's backend in the router."""
        return f"{self.process}.{side}"


@dataclass(frozen=True, kw_only=True)
class RouterState:
    """The complete state. Green serves clients whose bucket, 0 to 9,999, is below `share`; blue serves the others.

    With a `cohort`, a client's bucket is permanent; without, each request has a random one. `canary`: the side under
    test, if any; stable's servers replace its own when those are unreachable.
    """

    fronts: tuple[Frontend, ...] = ()
    share: int = 0
    cohort: Cohort | None = None
    canary: str = ""

    @property
    def live_side(self) -> str:
        """The side with most of the traffic; never the canary."""
        if self.canary:
            return get_other_side(self.canary)
        return GREEN if self.share * 2 > WHOLE else BLUE

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups for which the router has backends."""
        return GROUPS if self.cohort and self.cohort.baseline else (BLUE, GREEN)

    @property
    def idle_side(self) -> str:
        """The side that is not live."""
        return get_other_side(self.live_side)

    def list_servers(self) -> dict[str, dict[str, Server]]:
        """Return the servers by backend and name."""
        return {
            front.get_backend_name(side): {server.name: server for server in self.list_with_backups(front, side)}
            for front in self.fronts
            for side in self.groups
        }

    def list_with_backups(self, front: Frontend, side: str) -> tuple[Server, ...]:
        """Return the servers of a side, followed by backup copies, which are used while no other one is up.

        Backups are not checked: they get requests when all checks fail, as on an overloaded host. For the canary and a
        baseline they are stable's servers, for any other side its own.
        """
        on_trial = side in (BASELINE, self.canary)
        prefix, source = (RESCUE, self.live_side) if on_trial else (PANIC, side)
        if side == BASELINE and not front.baseline:
            return ()
        copies = (replace(server, name=f"{prefix}{server.name}", check="") for server in front.get_servers(source))
        return (*front.get_servers(side), *copies)

    def list_container_names(self, *sides: str) -> frozenset[str]:
        """Return the names of containers that serve in the given GROUPS; in any, if none is given."""
        return frozenset(
            server.name for front in self.fronts for side in sides or GROUPS for server in front.get_servers(side)
        )

    def remove_servers(self, names: frozenset[str]) -> RouterState:
        """Return the state without these servers."""
        fronts = self.fronts
        for side in GROUPS:
            kept = [tuple(each for each in front.get_servers(side) if each.name not in names) for front in fronts]
            fronts = tuple(front.replace_side(side, left) for front, left in zip(fronts, kept, strict=True))
        return replace(self, fronts=fronts)

    def add_servers(self, process: str, side: str, servers: tuple[Server, ...]) -> RouterState:
        """Return the state with additional servers of a process, replacing those of the same names."""
        new = {server.name for server in servers}
        fronts = tuple(
            front.replace_side(side, (*(each for each in front.get_servers(side) if each.name not in new), *servers))
            if front.process == process
            else front
            for front in self.fronts
        )
        return replace(self, fronts=fronts)


def is_backup(name: str) -> bool:
    """True if a server of this name is a backup copy of another one."""
    return name.startswith((RESCUE, PANIC))


def get_other_side(side: str) -> str:
    """Return the other side."""
    return GREEN if side == BLUE else BLUE


def get_full_share(side: str) -> int:
    """Return the share at which a side serves all clients."""
    return WHOLE if side == GREEN else 0


def list_held_ports(spec: ContainerSpec) -> tuple[int, ...]:
    """Return the TCP ports whose connections wait while a container restarts: those of a stage's router."""
    is_router = spec.role == "glue" and spec.image == ROUTER
    return tuple(port.container for port in spec.ports if port.protocol == "tcp") if is_router else ()
