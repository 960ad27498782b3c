"""Sockets held by the supervisor: listeners of containers, kept while one restarts, and the relay to the SSH agent."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import NamedTuple

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import forks, syscalls
from devbox.isolation.network import listening
from devbox.isolation.network.listening import HeldSockets
from devbox.isolation.supervisor.loop import Loop, Timer, log_error, log_line
from devbox.isolation.types import InstanceContext, Launch, NetNode, ProcessRef
from devbox.model import jsontext

_SUCCESSOR = 60.0  # seconds within which the replacement of a container must start
_MOST = 32  # concurrent connections; a container cannot make the host fork without limit
_PIECE = 65536
_PATIENCE = 5.0  # for a client without an agent
_STREAM = 3  # the connection's descriptor in a relay, its only one besides the standard streams


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


class AgentRelay:
    """Listens at `path` and relays each client to the current target of the symlink `to`.

    If nothing listens there, the connection is closed without a response. `path` is in a directory that only containers
    see, by a mount: every user of a container may connect.
    """

    def __init__(self, loop: Loop, path: str, *, to: str) -> None:
        self._loop = loop
        self._path = path
        self._to = to
        self._open = 0
        self._socket: socket.socket | None = None
        try:
            self._socket = _open_listener(path)
        except OSError as error:  # the rest of the instance works without the relay
            log_error(error)
            return
        loop.watch(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more connections; existing ones end with this process."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _accept(self) -> None:
        assert self._socket is not None  # noqa: S101 - for mypy
        try:
            link, _ = self._socket.accept()
        except OSError:
            return
        with link:
            if self._open < _MOST:
                self._serve(link)

    def _serve(self, link: socket.socket) -> None:
        """Fork the process that serves this connection, without any other descriptor of the supervisor."""
        caller = os.getpid()

        def speak() -> None:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != caller:
                return
            os.dup2(link.fileno(), _STREAM)
            os.closerange(_STREAM + 1, 1 << 20)
            _relay_bytes(socket.socket(fileno=_STREAM), self._to)

        child = forks.fork(speak)
        os.close(child.error_fd)
        self._open += 1
        self._loop.watch_child(child.pid, lambda _: self._on_connection_end())

    def _on_connection_end(self) -> None:
        self._open -= 1


def _open_listener(path: str) -> socket.socket:
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # left by a dead predecessor
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - only containers reach the directory
    listener.listen(16)
    return listener


def _relay_bytes(inside: socket.socket, to: str) -> None:
    """Relay bytes in both directions until either side closes."""
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        outside.connect(os.readlink(to))
    except OSError:
        _drain_and_close(inside)
        return
    other = {inside.fileno(): outside, outside.fileno(): inside}
    poll = select.poll()
    for link in (inside, outside):
        poll.register(link, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            data = os.read(fd, _PIECE)
            if not data:
                return
            other[fd].sendall(data)


def _drain_and_close(inside: socket.socket) -> None:
    """Close after reading the request: a client that writes to a closed connection is killed by SIGPIPE."""
    inside.settimeout(_PATIENCE)
    inside.shutdown(socket.SHUT_WR)
    while inside.recv(_PIECE):
        pass
