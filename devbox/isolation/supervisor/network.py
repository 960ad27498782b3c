"""The instance network as managed by the supervisor: addresses, the hosts file, published ports, egress."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from devbox.errors import DevboxError
from devbox.isolation.liveness import is_alive
from devbox.isolation.network import bridge, egress
from devbox.isolation.state import InstanceState, NamedPublishedPort, NetworkName
from devbox.isolation.supervisor.egress_policies import EgressPolicies, OnRefused
from devbox.isolation.supervisor.loop import Callback, ExitCallback, Loop, Timer, log_error, log_line
from devbox.isolation.types import (
    HostPort,
    InstanceContext,
    NetNode,
    NetworkAccess,
    PortRoute,
    ProcessRef,
    PublishedPort,
)

_RETRY = 1.0  # pause before a failed pasta is restarted


def _ignore_refusal(_name: str, _host: str) -> None:
    """Discard a refusal."""


class _Routes(NamedTuple):
    """Published ports with their containers, and containers with the host ports that they may reach."""

    routes: tuple[PortRoute, ...]
    host_ports: tuple[HostPort, ...]

    @property
    def published(self) -> tuple[PublishedPort, ...]:
        """The published ports, in their order."""
        return tuple(route.publish for route in self.routes)


class InstanceNetwork:
    """The network of an instance. Addresses stay with their names for the instance's life.

    nft follows every change. pasta is restarted, which cuts connections, only to add or unpublish a port.
    """

    def __init__(
        self, loop: Loop, context: InstanceContext, changed: Callback, *, refused: OnRefused = _ignore_refusal
    ) -> None:
        """Manage the network; `changed` is called on spontaneous changes.

        `refused` receives the container and the unlisted host name of each refused query.
        """
        self._loop = loop
        self._context = context
        self._changed = changed
        self._ipv6 = bridge.host_has_ipv6()
        self._names: dict[str, NetNode] = {}
        self._one_shots: dict[str, NetNode] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._reach: dict[str, NetworkAccess] = {}
        self._lists = EgressPolicies(loop, context, refused)
        self._egress: ProcessRef | None = None
        self._published: tuple[PublishedPort, ...] = ()  # the ports that the running pasta publishes,
        self._led: tuple[int, ...] = ()  # the host ports that it forwards to,
        self._loaded: _Routes | None = None  # and the routes last loaded into nft
        self._pending = False
        self._retry: Timer | None = None
        self._warnings: list[str] = []
        self.published: tuple[NamedPublishedPort, ...] = ()
        self.subnet = bridge.SUBNET

    @property
    def names(self) -> tuple[NetworkName, ...]:
        """The names of containers, without one-shots."""
        return tuple(NetworkName(name, node) for name, node in self._names.items())

    @property
    def egress(self) -> ProcessRef | None:
        """The running pasta."""
        return self._egress

    @property
    def forwarded_ports(self) -> tuple[int, ...]:
        """The ports of the host's loopback that pasta forwards to."""
        return self._led

    def build(self) -> None:
        """Create the bridge, once per holder, in a subnet that has no other host route."""
        self.subnet = bridge.find_free_subnet()
        bridge.make_bridge(self._context.holder, ipv6=self._ipv6, subnet=self.subnet)
        _rewrite(self._context.resolv, f"nameserver {egress.RESOLVER}\n")
        self._write_hosts()

    def adopt(self, before: InstanceState, reach: Mapping[str, NetworkAccess]) -> None:
        """Adopt the network of another supervisor, with this access for containers and one-shots."""
        self._names = {name.name: name.node for name in before.names}
        self._one_shots = {one_shot.name: one_shot.node for one_shot in before.guests}
        self._reach = dict(reach)
        self.published = before.published
        self.subnet = before.subnet or bridge.SUBNET
        self._write_hosts()
        self._lists.adopt(
            {
                name: (node, each.egress)
                for name, each in reach.items()
                if each.egress is not None and (node := self.find_node(name)) is not None
            }
        )
        if before.egress is None:
            return
        self._pending = True
        if is_alive(before.egress):
            self._published, self._led = self._build_routes().published, before.led
            self._watch(before.egress, self._loop.watch_process)
        self._refresh()

    def set_names(self, names: tuple[str, ...], published: tuple[NamedPublishedPort, ...]) -> None:
        """Set the complete names and ports. Raises EngineError if a port is taken; the previous ports then stay."""
        for name in names:
            self._names.setdefault(name, self._find_free_node())
        for name in self._names.keys() - set(names):
            del self._names[name]
            self._reach.pop(name, None)
            self._lists.set_policy(name, None, None)
        self._write_hosts()
        before = self.published
        if set(published) != set(before):
            self.published = published
        try:
            self._refresh()
        except DevboxError:
            self.published = before
            self._refresh()
            raise

    def pop_warnings(self) -> tuple[str, ...]:
        """Return pasta's warnings since the last call."""
        found, self._warnings = tuple(self._warnings), []
        return found

    def set_access(self, name: str, reach: NetworkAccess) -> None:
        """Set a container's access beyond the instance."""
        self._lists.set_policy(name, self.find_node(name), reach.egress)
        before = self._reach.get(name, NetworkAccess())
        self._reach[name] = reach
        try:
            if self._pending:
                self._refresh()
        except DevboxError:
            self._reach[name] = before
            raise

    def set_aliases(self, aliases: dict[str, tuple[str, ...]]) -> None:
        """Set the complete aliases of containers."""
        if aliases != self._aliases:
            self._aliases = aliases
            self._write_hosts()

    def find_node(self, name: str) -> NetNode | None:
        """Return the address of a name."""
        return self._names.get(name) or self._one_shots.get(name)

    def lease_node(self, name: str) -> NetNode:
        """Assign an address to a one-shot container, which others can resolve by its name."""
        self._one_shots[name] = self._find_free_node()
        self._write_hosts()
        return self._one_shots[name]

    def release_node(self, name: str) -> None:
        """Release the address of a removed one-shot container."""
        self._one_shots.pop(name, None)
        self._reach.pop(name, None)
        self._write_hosts()
        try:
            self._lists.set_policy(name, None, None)
            if self._pending:
                self._refresh()
        except DevboxError as error:
            log_line(error.render())
            self._schedule_retry()

    def close(self) -> None:
        """Stop pasta and the DNS proxies; the rest ends with the holder."""
        self._lists.close()
        self._stop_egress()

    def _find_free_node(self) -> NetNode:
        taken = {node.address for node in (*self._names.values(), *self._one_shots.values())}
        index = 0
        while (node := bridge.make_node(index, ipv6=self._ipv6, subnet=self.subnet)).address in taken:
            index += 1
        return node

    def _refresh(self) -> None:
        """Update nft and pasta after a change of names or ports."""
        routes = self._build_routes()
        led = set(egress.list_forwarded_ports(routes.host_ports))
        if self._egress is None or routes.published != self._published or not led.issubset(self._led):
            self._restart_egress()
        elif routes != self._loaded:
            self._loaded = None
            egress.load_rules(self._context, *routes, led=self._led)
            self._loaded = routes

    def _build_routes(self) -> _Routes:
        routes = tuple(PortRoute(each.publish, node) for each in self.published if (node := self.find_node(each.name)))
        host_ports = tuple(
            HostPort(port, node)
            for name, reach in self._reach.items()
            if (node := self.find_node(name))
            for port in reach.host_ports
        )
        return _Routes(routes, host_ports)

    def _restart_egress(self) -> None:
        """Restart pasta. On failure, retry until it succeeds: the instance must not stay offline silently."""
        self._stop_egress()
        try:
            self._start_egress()
        except Exception:
            self._pending = True
            self._schedule_retry()
            raise

    def _start_egress(self) -> None:
        routes = self._build_routes()
        self._watch(egress.start_egress(self._context, *routes, warn=self._record_warning), self._loop.watch_child)
        self._pending = True
        self._published, self._loaded = routes.published, routes
        self._led = egress.list_forwarded_ports(routes.host_ports)

    def _record_warning(self, text: str) -> None:
        log_line(f"pasta: {text}")
        self._warnings.append(text)

    def _stop_egress(self) -> None:
        self._pending = False
        if self._egress is not None:
            egress.stop_egress(self._egress)
            self._egress = None

    def _watch(self, pasta: ProcessRef, on_exit: Callable[[int, ExitCallback], None]) -> None:
        self._egress = pasta

        def revive(_: int | None) -> None:
            if self._egress == pasta:
                self._egress = None
                log_line("pasta exited: restarting it to reconnect the instance to the network")
                self._schedule_retry()

        on_exit(pasta.pid, revive)

    def _retry_failed(self) -> None:
        """Retry failed changes: restart pasta if it exited, reload rules that nft did not accept."""
        try:
            self._lists.retry()
            if self._pending:
                self._refresh()
        except (DevboxError, OSError) as error:
            log_error(error)
            self._schedule_retry()
        self._changed()

    def _schedule_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(_RETRY, self._retry_failed)

    def _write_hosts(self) -> None:
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        for name, node in (*self._names.items(), *self._one_shots.items()):
            known = "\t".join((name, *self._aliases.get(name, ())))
            lines += [f"{address}\t{known}" for address in node if address]
        _rewrite(self._context.hosts, "\n".join(lines) + "\n")


def _rewrite(path: str, text: str) -> None:
    """Change a file in place, because containers have this inode mounted."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        data = text.encode()
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
