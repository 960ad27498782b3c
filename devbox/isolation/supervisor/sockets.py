"""Listening sockets held by the supervisor, so that clients are not refused while a container restarts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import NamedTuple

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation.network import listening
from devbox.isolation.network.listening import HeldSockets
from devbox.isolation.supervisor.loop import Loop, Timer, log_error, log_line
from devbox.isolation.types import InstanceContext, Launch, NetNode, ProcessRef
from devbox.model import jsontext

_SUCCESSOR = 60.0  # seconds within which the replacement of a container must start


class _SocketEntry(NamedTuple):
    node: NetNode
    aliases: tuple[str, ...]
    held: HeldSockets


class ListeningSockets:
    """Listening sockets by container name, held from the first start until the stop.

    A file publishes the number of connections that the container had accepted when it last exited.
    """

    def __init__(self, loop: Loop, paths: Paths, context: InstanceContext) -> None:
        self._loop = loop
        self._paths = paths
        self._context = context
        self._entries: dict[str, _SocketEntry] = {}
        self._kept: dict[str, Timer] = {}

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """The aliases of containers whose clients wait while they are not running."""
        return {name: entry.aliases for name, entry in self._entries.items() if entry.aliases}

    def open(self, launch: Launch) -> HeldSockets | None:
        """Open the container's listening sockets, or reuse those of an earlier start; None if it has no ports."""
        name, node = launch.name, launch.network
        if (timer := self._kept.pop(name, None)) is not None:
            timer.cancel()
        before = self._entries.get(name)
        if not launch.listens or node is None or (before is not None and before.node != node):
            self.close(name)
            before = None
        if not launch.listens or node is None:
            return None
        held = self._extend(before, node, launch.listens)
        self._entries[name] = _SocketEntry(node, launch.aliases, held)
        if before is None:
            self._write(name, namespace=_generate_name(), accepted=0)
        return held

    def _extend(self, before: _SocketEntry | None, node: NetNode, ports: tuple[int, ...]) -> HeldSockets:
        """Set exactly these ports, in the existing namespace."""
        if before is None:
            return listening.listen(self._context, node, ports)
        netns, sockets = before.held
        if missing := [port for port in ports if port not in sockets]:
            more = listening.listen(self._context, node, missing, netns=netns)
            os.close(more.netns)
            sockets = {**sockets, **more.sockets}
        listening.close_sockets(fd for port, fd in sockets.items() if port not in ports)
        return HeldSockets(netns, {port: sockets[port] for port in ports})

    def adopt(self, launch: Launch, process: ProcessRef) -> None:
        """Hold a running container's sockets after its supervisor was killed; else its next start opens new ones."""
        if not launch.listens or launch.network is None:
            return
        held = listening.recover_sockets(process, launch.listens)
        if held is None:
            log_line(f"cannot hold the sockets of {launch.name}: clients are refused during restarts")
            return
        self._entries[launch.name] = _SocketEntry(launch.network, launch.aliases, held)

    def retain(self, name: str) -> None:
        """Keep listening for the replacement of this container, which is about to be stopped."""
        if name in self._entries:
            self._kept[name] = self._loop.call_later(_SUCCESSOR, lambda: self._release(name))

    def _release(self, name: str) -> None:
        del self._kept[name]
        self.close(name)

    def close(self, name: str) -> None:
        """Close the sockets of a container that is not restarted, unless it is being replaced."""
        if name not in self._kept and (entry := self._entries.pop(name, None)) is not None:
            listening.close(entry.held)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._paths.connections(self._context.instance, name))

    def record_accepted(self, name: str) -> None:
        """Record the number of accepted connections after the container's processes have exited."""
        if (entry := self._entries.get(name)) is None:
            return
        try:
            before = jsontext.loads(files.read_text(self._paths.connections(self._context.instance, name)) or "{}")
            accepted = listening.count_accepted(self._context, entry.held)
        except (DevboxError, OSError, ValueError) as error:
            log_line(f"cannot list the connections accepted by {name}: {error}")
            return
        self._write(name, namespace=_read_namespace(before) or _generate_name(), accepted=accepted)

    def _write(self, name: str, *, namespace: str, accepted: int) -> None:
        """Write the file; without it, the upper bound of connections lost by a kill is an estimate."""
        facts = {"namespace": namespace, "accepted": accepted, "at": time.time()}
        path = self._paths.connections(self._context.instance, name)
        try:
            files.write_atomic(path, json.dumps(facts), mode=0o600)
        except OSError as error:
            log_error(error)


def _read_namespace(connections: object) -> str:
    """Return the recorded namespace; "" if there is none."""
    name = connections.get("namespace") if isinstance(connections, dict) else None
    return name if isinstance(name, str) else ""


def _generate_name() -> str:
    """Return a random identifier for a network namespace."""
    return os.urandom(8).hex()
