"""Socket that relays an instance's containers to their caller's SSH agent, one process per connection."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

from devbox.isolation import forks, syscalls
from devbox.isolation.supervisor.loop import Loop, log_error

_MOST = 32  # concurrent connections; a container cannot make the host fork without limit
_PIECE = 65536
_PATIENCE = 5.0  # for a client without an agent
_STREAM = 3  # the connection's descriptor in a relay, its only one besides the standard streams


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
