"""HAProxy's runtime API: one command a connection, over the unix socket that the router's container shares with us."""

from __future__ import annotations

import contextlib
import os
import socket

from devbox.errors import EngineError, RouterAway
from devbox.routing.config import SOCKET

_PATIENCE = 10.0
# How answers begin that are complaints, whatever their number; success is silent or says what was done.
_DONE = ("", "New server registered.", "Server deleted.", "Done.")


class Runtime:
    """The running HAProxy whose files lie in `directory`. RouterAway where it does not answer, else EngineError."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def ask(self, command: str) -> str:
        """What it answers to a question."""
        try:
            return self._exchange(command)
        except OSError as error:
            raise RouterAway(
                f"the router does not answer: {error.strerror or error}",
                remedy="devbox logs --stage NAME router says why",
            ) from None

    def tell(self, command: str) -> None:
        """Have it do something; whatever it answers but success is an error."""
        said = self.ask(command).strip()
        if said not in _DONE:
            raise EngineError(
                f"the router refuses `{command}`: {said.splitlines()[0]}",
                details=said,
                remedy="devbox logs --stage NAME router says why",
            )

    def answers(self) -> bool:
        """Whether it is there."""
        with contextlib.suppress(OSError):
            return bool(self._exchange("show info"))
        return False

    def _exchange(self, command: str) -> str:
        """The path goes by a descriptor: that of a socket may have 107 bytes at most."""
        place = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
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
