"""HAProxy runtime API: one command per connection, on the unix socket shared with the router's container."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from devbox.deploy.haproxy.config import SOCKET
from devbox.errors import EngineError, RouterUnavailable

_PATIENCE = 10.0
_START_TIMEOUT = 30.0  # seconds for a router to start, initially or after a kill
_PAUSE = 0.05
# Answers to successful commands; any other answer is an error message.
_DONE = ("", "New server registered.", "Server deleted.", "Done.")

T = TypeVar("T")


class Runtime:
    """The running HAProxy of a directory. RouterUnavailable if it does not respond, otherwise EngineError."""

    def __init__(self, directory: str | Callable[[], str]) -> None:
        """`directory`: a path, or a function called per exchange, as the next router may use another one."""
        self._find = directory if callable(directory) else lambda: directory

    def query(self, command: str) -> str:
        """Send a query; return the answer."""
        try:
            return self._exchange(command)
        except OSError as error:
            raise RouterUnavailable(
                f"the router does not respond: {error.strerror or error}",
                remedy="see its logs: devbox logs --stage NAME router",
            ) from None

    def execute(self, command: str) -> None:
        """Run a command; any answer other than success is an error."""
        response = self.query(command).strip()
        if response not in _DONE:
            raise EngineError(
                f"the router refused `{command}`: {response.splitlines()[0]}",
                details=response,
                remedy="see its logs: devbox logs --stage NAME router",
            )

    def repeat(self, work: Callable[[], T]) -> T:
        """Run `work` with the running router; repeat it from the start if the router is replaced meanwhile.

        RouterUnavailable after 30 s without a response. `work` must be idempotent.
        """
        deadline, is_first = time.monotonic() + _START_TIMEOUT, True
        while True:
            router = self._await(deadline)
            try:
                return work()
            except EngineError as error:
                ended = isinstance(error, RouterUnavailable) or self._identify() != router
                if not router or not ended or (not is_first and time.monotonic() > deadline):
                    raise
            if is_first:
                deadline, is_first = time.monotonic() + _START_TIMEOUT, False

    def _await(self, deadline: float) -> str:
        """Return the identity of the responding router; "" after the deadline."""
        while not (router := self._identify()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return router

    def _identify(self) -> str:
        """Return the identity of the router, by its socket, which each router creates; "" without one."""
        try:
            socket_stat = os.stat(f"{self._find()}/{SOCKET}")
        except OSError:
            return ""
        return f"{socket_stat.st_ino} {socket_stat.st_ctime_ns}" if self.is_reachable() else ""

    def is_reachable(self) -> bool:
        """True if the router responds."""
        with contextlib.suppress(OSError):
            return bool(self._exchange("show info"))
        return False

    def _exchange(self, command: str) -> str:
        """Exchange one command; connect through a descriptor, as socket paths are limited to 107 bytes."""
        place = os.open(self._find(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(_PATIENCE)
                link.connect(f"/proc/self/fd/{place}/{SOCKET}")
                link.sendall(f"{command}\n".encode())
                link.shutdown(socket.SHUT_WR)
                parts = []
                while data := link.recv(65536):
                    parts.append(data)
                return b"".join(parts).decode(errors="replace")
        finally:
            os.close(place)
