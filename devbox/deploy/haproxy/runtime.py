"""HAProxy's runtime API: one command a connection, over the unix socket that the router's container shares with us."""

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
_AWAY = 30.0  # seconds that a router may take to be started, for the first time or after it was killed
_PAUSE = 0.05
# How answers begin that are complaints, whatever their number; success is silent or says what was done.
_DONE = ("", "New server registered.", "Server deleted.", "Done.")

T = TypeVar("T")


class Runtime:
    """The running HAProxy whose files lie in a directory. RouterAway where it does not answer, else EngineError."""

    def __init__(self, directory: str | Callable[[], str]) -> None:
        """`directory`: a path, or what finds it for each exchange: the next router may have another one."""
        self._find = directory if callable(directory) else lambda: directory

    def query(self, command: str) -> str:
        """What it answers to a question."""
        try:
            return self._exchange(command)
        except OSError as error:
            raise RouterUnavailable(
                f"the router does not answer: {error.strerror or error}",
                remedy="devbox logs --stage NAME router says why",
            ) from None

    def execute(self, command: str) -> None:
        """Have it do something; whatever it answers but success is an error."""
        said = self.query(command).strip()
        if said not in _DONE:
            raise EngineError(
                f"the router refuses `{command}`: {said.splitlines()[0]}",
                details=said,
                remedy="devbox logs --stage NAME router says why",
            )

    def repeat(self, work: Callable[[], T]) -> T:
        """Do some work with the running router; from its beginning with the next one, if that one ended meanwhile.

        RouterAway if none answers for 30 s. What the work has done already must do no harm when it is done again.
        """
        deadline, is_first = time.monotonic() + _AWAY, True
        while True:
            router = self._await(deadline)
            try:
                return work()
            except EngineError as error:
                ended = isinstance(error, RouterUnavailable) or self._identify() != router
                if not router or not ended or (not is_first and time.monotonic() > deadline):
                    raise
            if is_first:
                deadline, is_first = time.monotonic() + _AWAY, False

    def _await(self, deadline: float) -> str:
        """Which router answers; "" where none does until then."""
        while not (router := self._identify()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return router

    def _identify(self) -> str:
        """What tells the router that answers now from one before it: each makes its socket itself. "" for none."""
        try:
            made = os.stat(f"{self._find()}/{SOCKET}")
        except OSError:
            return ""
        return f"{made.st_ino} {made.st_ctime_ns}" if self.is_reachable() else ""

    def is_reachable(self) -> bool:
        """Whether it is there."""
        with contextlib.suppress(OSError):
            return bool(self._exchange("show info"))
        return False

    def _exchange(self, command: str) -> str:
        """The path goes by a descriptor: that of a socket may have 107 bytes at most."""
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
