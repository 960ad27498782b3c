"""The socket at which an instance's containers find their caller's SSH agent. A connection is a process of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

from devbox.isolation import forks, syscalls
from devbox.isolation.supervisor.loop import Loop, log_error

_MOST = 32  # connections at a time; a container can't make this machine fork without end
_PIECE = 65536
_PATIENCE = 5.0  # with one who asks where there is no agent
_STREAM = 3  # the connection's descriptor in a relay, its only one beside the standard streams


class AgentRelay:
    """Listens at `path`; whoever connects speaks with the socket that the link `to` names at that moment.

    Where nobody listens there, the connection says nothing and ends. `path` lies in a directory that
    only containers see, through a mount: everyone may connect, whatever user a container runs as.
    """

    def __init__(self, loop: Loop, path: str, *, to: str) -> None:
        self._loop = loop
        self._path = path
        self._to = to
        self._open = 0
        self._socket: socket.socket | None = None
        try:
            self._socket = _open_listener(path)
        except OSError as error:  # everything else of the instance works without
            log_error(error)
            return
        loop.watch(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections; those there are end with this process."""
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
        """Fork the process that speaks for this connection. It holds nothing else of the supervisor's open."""
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
        os.unlink(path)  # of a dead predecessor
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - nobody but containers gets there
    listener.listen(16)
    return listener


def _relay_bytes(inside: socket.socket, to: str) -> None:
    """Carry bytes both ways until either side hangs up."""
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
    """Hang up, but hear the question first: whoever writes to a closed connection is killed by SIGPIPE."""
    inside.settimeout(_PATIENCE)
    inside.shutdown(socket.SHUT_WR)
    while inside.recv(_PIECE):
        pass
