"""The instance's network as its supervisor keeps it: addresses of names, the hosts file, the way in and out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from devbox.errors import DevboxError
from devbox.isolation.living import alive
from devbox.isolation.network import bridge, egress
from devbox.isolation.state import Name, NamedPublish
from devbox.isolation.supervision.loop import Callback, ExitCallback, Loop, Timer, complain, say
from devbox.isolation.types import Context, HostPort, NetNode, ProcessRef, Publish, Route

_RETRY = 1.0  # pause before a pasta that died is started again


class _Ways(NamedTuple):
    """Published ports and the containers they lead to; containers and the ports of the host they may reach."""

    routes: tuple[Route, ...]
    host_ports: tuple[HostPort, ...]

    @property
    def published(self) -> tuple[Publish, ...]:
        """The ports alone, in their order."""
        return tuple(route.publish for route in self.routes)


class Segment:
    """Addresses stay with their names for the instance's life.

    nft follows every change. pasta is restarted, which cuts connections, only when a port must be added or unpublished.
    """

    def __init__(self, loop: Loop, context: Context, changed: Callback) -> None:
        """`changed` is called where something changes that nobody asked for."""
        self._loop = loop
        self._context = context
        self._changed = changed
        self._ipv6 = bridge.host_has_ipv6()
        self._names: dict[str, NetNode] = {}
        self._guests: dict[str, NetNode] = {}
        self._host_ports: dict[str, tuple[int, ...]] = {}
        self._egress: ProcessRef | None = None
        self._published: tuple[Publish, ...] = ()  # what the running pasta publishes,
        self._led: tuple[int, ...] = ()  # the ports of the host it leads to,
        self._told: _Ways | None = None  # and what nft was told last
        self._wanted = False
        self._retry: Timer | None = None
        self.published: tuple[NamedPublish, ...] = ()

    @property
    def names(self) -> tuple[Name, ...]:
        """Names of containers, without guests."""
        return tuple(Name(name, node) for name, node in self._names.items())

    @property
    def egress(self) -> ProcessRef | None:
        """The running pasta."""
        return self._egress

    def build(self) -> None:
        """Make the bridge: once, when the holder is new."""
        bridge.make_bridge(self._context.holder, ipv6=self._ipv6)
        self._write_resolv()
        self._write_hosts()

    def adopt(self, names: tuple[Name, ...], published: tuple[NamedPublish, ...], pasta: ProcessRef | None) -> None:
        """Go on where another supervisor stopped."""
        self._names = {name.name: name.node for name in names}
        self.published = published
        self._write_hosts()
        self._wanted = pasta is not None
        if pasta is not None and alive(pasta):
            self._published = self._ways().published
            self._watch(pasta, self._loop.on_stranger_exit)
        elif pasta is not None:
            self._start_egress()

    def set(self, names: tuple[str, ...], published: tuple[NamedPublish, ...]) -> None:
        """Exactly these names and ports from now on. EngineError when a port is taken; what was stays then."""
        for name in names:
            self._names.setdefault(name, self._free_node())
        self._names = {name: node for name, node in self._names.items() if name in names}
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

    def reach(self, name: str, host_ports: tuple[int, ...]) -> None:
        """Let a container reach exactly these ports of the host's loopback from now on."""
        before = self._host_ports.get(name, ())
        if before == host_ports:
            return
        self._host_ports[name] = host_ports
        try:
            if self._wanted:
                self._refresh()
        except DevboxError:
            self._host_ports[name] = before
            raise

    def node(self, name: str) -> NetNode | None:
        """The address of a name."""
        return self._names.get(name) or self._guests.get(name)

    def lease(self, name: str, node: NetNode | None = None) -> NetNode:
        """An address for a one-shot container, known to the others by its name."""
        self._guests[name] = node or self._free_node()
        self._write_hosts()
        return self._guests[name]

    def release(self, name: str) -> None:
        """The one-shot container is gone."""
        self._guests.pop(name, None)
        self._host_ports.pop(name, None)
        self._write_hosts()
        try:
            if self._wanted:
                self._refresh()
        except DevboxError as error:
            say(error.render())

    def close(self) -> None:
        """Stop pasta; the rest goes with the holder."""
        self._stop_egress()

    def _free_node(self) -> NetNode:
        taken = {node.address for node in (*self._names.values(), *self._guests.values())}
        index = 0
        while (node := bridge.node(index, ipv6=self._ipv6)).address in taken:
            index += 1
        return node

    def _refresh(self) -> None:
        """Have nft and pasta follow names and ports."""
        ways = self._ways()
        led = set(egress.led_ports(ways.host_ports))
        if self._egress is None or ways.published != self._published or not led.issubset(self._led):
            self._restart_egress()
        elif ways != self._told:
            self._told = None
            egress.load_rules(self._context, *ways, led=self._led)
            self._told = ways

    def _ways(self) -> _Ways:
        routes = tuple(Route(each.publish, node) for each in self.published if (node := self.node(each.name)))
        host_ports = tuple(
            HostPort(port, node)
            for name, ports in self._host_ports.items()
            if (node := self.node(name))
            for port in ports
        )
        return _Ways(routes, host_ports)

    def _restart_egress(self) -> None:
        """Start pasta anew. Where that fails, it is tried again until it works: nothing stays offline in silence."""
        self._stop_egress()
        try:
            self._start_egress()
        except Exception:
            self._wanted = True
            self._try_later()
            raise

    def _start_egress(self) -> None:
        ways = self._ways()
        self._watch(egress.start_egress(self._context, *ways), self._loop.on_exit)
        self._wanted = True
        self._published, self._led, self._told = ways.published, egress.led_ports(ways.host_ports), ways

    def _stop_egress(self) -> None:
        self._wanted = False
        if self._egress is not None:
            egress.stop_egress(self._egress)
            self._egress = None

    def _watch(self, pasta: ProcessRef, on_exit: Callable[[int, ExitCallback], None]) -> None:
        self._egress = pasta

        def ended(_: int | None) -> None:
            if self._egress == pasta:
                self._egress = None
                say("pasta, which connects the instance to the network, ended; it is started again")
                self._try_later()

        on_exit(pasta.pid, ended)

    def _revive(self) -> None:
        if not self._wanted or self._egress is not None:
            return
        try:
            self._start_egress()
        except (DevboxError, OSError) as error:
            complain(error)
            self._try_later()
        self._changed()

    def _try_later(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.after(_RETRY, self._revive)

    def _write_hosts(self) -> None:
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        for name, node in (*self._names.items(), *self._guests.items()):
            lines.append(f"{node.address}\t{name}")
            if node.address6:
                lines.append(f"{node.address6}\t{name}")
        _rewrite(self._context.hosts, "\n".join(lines) + "\n")

    def _write_resolv(self) -> None:
        _rewrite(self._context.resolv, f"nameserver {egress.RESOLVER}\n")


def _rewrite(path: str, text: str) -> None:
    """Change a file in place: containers have this very inode mounted."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        data = text.encode()
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
