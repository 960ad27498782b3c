"""The egress lists of an instance's containers, as their supervisor keeps them: an answerer each, and nft's rules."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from devbox.errors import DevboxError
from devbox.isolation import living
from devbox.isolation.supervision.loop import Loop, complain
from devbox.isolation.types import Context, NetNode

if TYPE_CHECKING:
    from devbox.isolation.network.answerer import Started

Refused = Callable[[str, str], None]

_RETRY = 1.0  # pause before an answerer that died is started again


class _Listed(NamedTuple):
    """A container with a list."""

    node: NetNode
    entries: tuple[str, ...]
    answerer: Started


class Lists:
    """Holds containers to their lists. Without any list nothing of this is loaded or running."""

    def __init__(self, loop: Loop, context: Context, refused: Refused) -> None:
        """`refused` is told of each container and host name that is not on its list, once."""
        self._loop = loop
        self._context = context
        self._refused = refused
        self._listed: dict[str, _Listed] = {}
        self._gone: set[NetNode] = set()

    def hold(self, name: str, node: NetNode | None, entries: tuple[str, ...] | None) -> None:
        """Hold a container to this list from now on; None frees its address, which it must not have any more."""
        before = self._listed.get(name)
        if node is not None and entries is not None:
            if before is None or (before.node, before.entries) != (node, entries):
                self._begin(name, node, entries)
        elif before is not None:
            del self._listed[name]
            self._forget(before)
            self._gone.add(before.node)
        elif not self._gone:
            return
        self._tell()

    def adopt(self, held: Mapping[str, tuple[NetNode, tuple[str, ...]]]) -> None:
        """Go on with lists that nft holds already: with all at once, since it lifts those that it is not told of."""
        for name, (node, entries) in held.items():
            self._begin(name, node, entries)
        if held:
            self._tell()

    def settle(self) -> None:
        """Say again what nft did not take."""
        if self._gone:
            self._tell()

    def close(self) -> None:
        """End the answerers; nft's rules go with the network namespace."""
        for each in self._listed.values():
            self._forget(each)
        self._listed.clear()

    def _begin(self, name: str, node: NetNode, entries: tuple[str, ...]) -> None:
        from devbox.isolation.network import answerer

        started = answerer.start(self._context, node, entries)
        if (before := self._listed.get(name)) is not None:
            self._forget(before)
            self._gone.add(before.node)
        self._listed[name] = _Listed(node, entries, started)
        received = bytearray()
        self._loop.watch(started.reports, lambda: self._read(name, started, received))
        self._loop.on_exit(started.process.pid, lambda _: self._ended(name, started))

    def _read(self, name: str, started: Started, received: bytearray) -> None:
        data = os.read(started.reports, 4096)
        if not data:
            self._loop.unwatch(started.reports)
        received += data
        *lines, rest = bytes(received).split(b"\n")
        received[:] = rest
        for line in lines:
            self._refused(name, line.decode(errors="replace"))

    def _ended(self, name: str, started: Started) -> None:
        """An answerer that nobody told to end is replaced: until then its container finds no name."""
        now = self._listed.get(name)
        if now is None or now.answerer is not started:
            return

        def again() -> None:
            if self._listed.get(name) is not now:
                return
            try:
                self._begin(name, now.node, now.entries)
                self._gone.discard(now.node)
                self._tell()
            except DevboxError as error:
                complain(error)
                self._loop.after(_RETRY, again)

        self._loop.after(_RETRY, again)

    def _forget(self, each: _Listed) -> None:
        self._loop.unwatch(each.answerer.reports)
        os.close(each.answerer.reports)
        if living.alive(each.answerer.process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.answerer.process.pid, signal.SIGKILL)

    def _tell(self) -> None:
        """nft takes all of it or nothing."""
        from devbox.isolation.network import egress, names

        answerers = [names.Answerer(each.node, each.entries, each.answerer.port) for each in self._listed.values()]
        egress.load(self._context, names.rules(answerers, self._gone))
        self._gone.clear()
