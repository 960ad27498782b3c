"""The other end of the supervisor's socket. Light: `devbox run` uses it on the hot path."""

from __future__ import annotations

import _socket  # the C half of `socket`, whose Python half costs a start 6 ms
import sys
from typing import Any

from devbox.errors import EngineError
from devbox.isolation import protocol


class Client:
    """One connection to an instance's supervisor. ConnectionError and FileNotFoundError when there is none."""

    def __init__(self, path: str) -> None:
        self._link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        try:
            self._link.connect(path)
        except OSError:
            self._link.close()
            raise
        self._received = b""

    @property
    def peer(self) -> int:
        """The supervisor's pid."""
        credentials = self._link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], sys.byteorder)

    def call(self, verb: str, **fields: Any) -> protocol.Message:
        """Send a request and wait for its answer; an error that the supervisor met is raised here."""
        try:
            self._link.sendall(protocol.encode({"do": verb, **fields}))
            line = self._line()
        except ConnectionError:
            line = b""
        if not line:
            raise EngineError("the instance's supervisor went away in the middle of a request", remedy="devbox up")
        return protocol.result(protocol.decode(line))

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            data = self._link.recv(65536)
            if not data:
                return b""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line
