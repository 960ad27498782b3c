"""What a router is to do: which ports lead where, who serves on which side, how many visitors the green side has.

Both sides are alike; which of them is the old one changes with every release. One number moves all traffic of all ports
at once, so that no visitor sees two releases side by side.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from devbox.model import codec
from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass

RESCUE = "rescue-"  # prefix of stable's servers in the canary's backend, used while none of the canary's is up
PANIC = "panic-"  # prefix of second copies of servers in their own backend, used while none of its servers is up
BASELINE = "baseline"  # the group of servers that serves a part of stable's visitors during a trial
ROUTER = "router"  # the name of the router's container, and of its image
BLUE, GREEN = "blue", "green"
GROUPS = (BLUE, GREEN, BASELINE)  # of servers: both sides, and fresh replicas of stable next to a canary
WHOLE = 10_000  # all visitors; a visitor's bucket is below it


@dataclass(frozen=True, kw_only=True)
class StickyKey:
    """How visitors are known again: by this cookie, or by this header where a request has it.

    `baseline`: as many of stable's visitors as the canary has may be sent to fresh replicas of stable.
    """

    cookie: str = "devbox_cohort"
    header: str = ""
    baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Cohort(StickyKey):
    """The same with what cookies are signed with, in base64: who has it can choose his bucket."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """A container that serves: its name, its address in the instance's network, the port it listens on.

    `check`: a path that it answers well as long as it can serve; "": it accepts connections.
    """

    name: str
    address: str
    port: int
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Frontend:
    """A port of the router, and the process behind it. `asks`: its servers are asked for their paths.

    `baseline`: its servers of a group that exists only during a trial; see `Cohort.baseline`.
    """

    process: str
    port: int
    asks: bool = False
    blue: tuple[Server, ...] = ()
    green: tuple[Server, ...] = ()
    baseline: tuple[Server, ...] = ()

    def get_servers(self, side: str) -> tuple[Server, ...]:
        """The servers of one of GROUPS."""
        return {BLUE: self.blue, GREEN: self.green, BASELINE: self.baseline}[side]

    def replace_side(self, side: str, servers: tuple[Server, ...]) -> Frontend:
        """The same with other servers in one of GROUPS."""
        if side == BASELINE:
            return replace(self, baseline=servers)
        return replace(self, blue=servers) if side == BLUE else replace(self, green=servers)

    def get_backend_name(self, side: str) -> str:
        """What the router calls a side of it."""
        return f"{self.process}.{side}"


@dataclass(frozen=True, kw_only=True)
class RouterState:
    """All of it. A visitor is served by green where his bucket, 0 to 9,999, is below `share`; else by blue.

    With a `cohort`, a visitor has one bucket for good; without, each request has one by chance. `canary`: the side that
    is on trial, if any; the other one's servers stand in for its own when those can't be reached.
    """

    fronts: tuple[Frontend, ...] = ()
    share: int = 0
    cohort: Cohort | None = None
    canary: str = ""

    @property
    def live_side(self) -> str:
        """The side that most visitors are on; never the one on trial."""
        if self.canary:
            return get_other_side(self.canary)
        return GREEN if self.share * 2 > WHOLE else BLUE

    @property
    def groups(self) -> tuple[str, ...]:
        """Those of GROUPS that the router has backends for."""
        return GROUPS if self.cohort and self.cohort.baseline else (BLUE, GREEN)

    @property
    def idle_side(self) -> str:
        """The other one."""
        return get_other_side(self.live_side)

    def list_servers(self) -> dict[str, dict[str, Server]]:
        """By backend and name."""
        return {
            front.get_backend_name(side): {server.name: server for server in self.list_with_backups(front, side)}
            for front in self.fronts
            for side in self.groups
        }

    def list_with_backups(self, front: Frontend, side: str) -> tuple[Server, ...]:
        """The servers of a side and, after them, the backup copies that get its requests while no other one is up.

        Backups are not checked: requests go there when every check fails, as on a machine that is too busy to answer.
        For the canary and a baseline they are stable's servers, for any other side its own.
        """
        on_trial = side in (BASELINE, self.canary)
        prefix, source = (RESCUE, self.live_side) if on_trial else (PANIC, side)
        if side == BASELINE and not front.baseline:
            return ()
        copies = (replace(server, name=f"{prefix}{server.name}", check="") for server in front.get_servers(source))
        return (*front.get_servers(side), *copies)

    def list_container_names(self, *sides: str) -> frozenset[str]:
        """The containers that serve in these of GROUPS; in any, if none is given."""
        return frozenset(
            server.name for front in self.fronts for side in sides or GROUPS for server in front.get_servers(side)
        )

    def remove_servers(self, names: frozenset[str]) -> RouterState:
        """The same, and none of these serves any more."""
        fronts = self.fronts
        for side in GROUPS:
            kept = [tuple(each for each in front.get_servers(side) if each.name not in names) for front in fronts]
            fronts = tuple(front.replace_side(side, left) for front, left in zip(fronts, kept, strict=True))
        return replace(self, fronts=fronts)

    def add_servers(self, process: str, side: str, servers: tuple[Server, ...]) -> RouterState:
        """The same, and these serve a process, too; they replace others of their names."""
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
    """The other side."""
    return GREEN if side == BLUE else BLUE


def get_full_share(side: str) -> int:
    """The share at which a side serves every visitor."""
    return WHOLE if side == GREEN else 0


def dump(state: RouterState) -> Any:
    """The state as plain JSON values."""
    return codec.dump(state)


def load(plain: Any) -> RouterState:
    """The state from what `dump` gave."""
    return codec.load(RouterState, plain)


def list_held_ports(spec: ContainerSpec) -> tuple[int, ...]:
    """Return the TCP ports whose connections wait while a container restarts: those of a stage's router."""
    is_router = spec.role == "glue" and spec.image == ROUTER
    return tuple(port.container for port in spec.ports if port.protocol == "tcp") if is_router else ()
