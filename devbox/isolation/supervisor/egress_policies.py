"""Egress lists of an instance's containers: a DNS proxy for each, and the nft rules."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from devbox.errors import DevboxError
from devbox.isolation import liveness
from devbox.isolation.supervisor.loop import Loop, log_error
from devbox.isolation.types import InstanceContext, NetNode

if TYPE_CHECKING:
    from devbox.isolation.network.dns_proxy import RunningDnsProxy

OnRefused = Callable[[str, str], None]

_RETRY = 1.0  # pause before a failed DNS proxy is restarted


def preload() -> None:
    """Import what the first policy needs: an upgrade may replace the files of a running supervisor's package."""
    importlib.import_module("devbox.isolation.network.dns_proxy")


class _ContainerPolicy(NamedTuple):
    """A container with an egress list."""

    node: NetNode
    entries: tuple[str, ...]
    answerer: RunningDnsProxy


class EgressPolicies:
    """Enforces the containers' egress lists. Without any list, nothing is loaded or started."""

    def __init__(self, loop: Loop, context: InstanceContext, refused: OnRefused) -> None:
        """Manage the lists; `refused` receives each container and unlisted host name, once."""
        self._loop = loop
        self._context = context
        self._refused = refused
        self._listed: dict[str, _ContainerPolicy] = {}
        self._gone: set[NetNode] = set()

    def set_policy(self, name: str, node: NetNode | None, entries: tuple[str, ...] | None) -> None:
        """Restrict a container to this list; None releases its address, which the container must no longer use."""
        before = self._listed.get(name)
        if node is not None and entries is not None:
            if before is None or (before.node, before.entries) != (node, entries):
                self._start_proxy(name, node, entries)
        elif before is not None:
            del self._listed[name]
            self._stop_proxy(before)
            self._gone.add(before.node)
        elif not self._gone:
            return
        self._load_rules()

    def adopt(self, held: Mapping[str, tuple[NetNode, tuple[str, ...]]]) -> None:
        """Adopt lists that nft already enforces, all at once: loading the rules drops lists that are not included."""
        for name, (node, entries) in held.items():
            self._start_proxy(name, node, entries)
        if held:
            self._load_rules()

    def retry(self) -> None:
        """Reload rules that nft did not accept."""
        if self._gone:
            self._load_rules()

    def close(self) -> None:
        """Stop the DNS proxies; nft's rules are removed with the network namespace."""
        for each in self._listed.values():
            self._stop_proxy(each)
        self._listed.clear()

    def _start_proxy(self, name: str, node: NetNode, entries: tuple[str, ...]) -> None:
        from devbox.isolation.network import dns_proxy

        started = dns_proxy.start(self._context, node, entries)
        if (before := self._listed.get(name)) is not None:
            self._stop_proxy(before)
            self._gone.add(before.node)
        self._listed[name] = _ContainerPolicy(node, entries, started)
        received = bytearray()
        self._loop.watch(started.reports, lambda: self._read_reports(name, started, received))
        self._loop.watch_child(started.process.pid, lambda _: self._on_proxy_exit(name, started))

    def _read_reports(self, name: str, started: RunningDnsProxy, received: bytearray) -> None:
        data = os.read(started.reports, 4096)
        if not data:
            self._loop.unwatch(started.reports)
        received += data
        *lines, rest = bytes(received).split(b"\n")
        received[:] = rest
        for line in lines:
            self._refused(name, line.decode(errors="replace"))

    def _on_proxy_exit(self, name: str, started: RunningDnsProxy) -> None:
        """Replace a DNS proxy that exited unexpectedly: without it, the container resolves no names."""
        now = self._listed.get(name)
        if now is None or now.answerer is not started:
            return

        def again() -> None:
            if self._listed.get(name) is not now:
                return
            try:
                self._start_proxy(name, now.node, now.entries)
                self._gone.discard(now.node)
                self._load_rules()
            except DevboxError as error:
                log_error(error)
                self._loop.call_later(_RETRY, again)

        self._loop.call_later(_RETRY, again)

    def _stop_proxy(self, each: _ContainerPolicy) -> None:
        self._loop.unwatch(each.answerer.reports)
        os.close(each.answerer.reports)
        if liveness.is_alive(each.answerer.process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.answerer.process.pid, signal.SIGKILL)

    def _load_rules(self) -> None:
        """Load all rules atomically."""
        from devbox.isolation.network import egress, egress_policy

        answerers = [
            egress_policy.EgressPolicy(each.node, each.entries, each.answerer.port) for each in self._listed.values()
        ]
        egress.apply_nft(self._context, egress_policy.build_rules(answerers, self._gone))
        self._gone.clear()
