"""Client of the supervisor's socket. Light: `devbox run` uses this module on the hot path."""

from __future__ import annotations

import _socket  # the C half of `socket`; the Python half adds 6 ms to start-up
import json
import sys
from typing import Any

from devbox.errors import DevboxError, EngineError, HostError, NotReady, PortTaken
from devbox.model import jsontext

Message = dict[str, Any]

_KINDS: dict[str, type[DevboxError]] = {  # subclasses before their bases
    "host": HostError,
    "not-ready": NotReady,
    "port-taken": PortTaken,
    "engine": EngineError,
}


def encode(message: Message) -> bytes:
    """Encode a message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Decode a line; raise ValueError if it is not JSON, TypeError if it is not an object."""
    message = jsontext.loads(line)
    if not isinstance(message, dict):
        raise TypeError("invalid message: expected an object")
    return message


def encode_error(error: DevboxError) -> Message:
    """Return a response that carries an error."""
    kind = next((kind for kind, cls in _KINDS.items() if isinstance(error, cls)), "engine")
    facts = {"kind": kind, "sentence": error.sentence, "details": error.details, "remedy": error.remedy}
    return {"error": facts}


def unwrap_result(response: Message) -> Message:
    """Return the result of a response, or raise the error that it carries."""
    error = response.get("error")
    if error is None:
        ok: Message = response["ok"]
        return ok
    raise _KINDS[error["kind"]](error["sentence"], details=error["details"], remedy=error["remedy"])


class Client:
    """A connection to an instance's supervisor. Raises ConnectionError or FileNotFoundError if none is running."""

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

    def call(self, verb: str, **fields: Any) -> Message:
        """Send a request and wait for the response; raise the error that the supervisor reports."""
        try:
            self._link.sendall(encode({"do": verb, **fields}))
            line = self._read_line()
        except ConnectionError:
            line = b""
        if not line:
            raise EngineError("the instance's supervisor exited during a request", remedy="devbox up")
        return unwrap_result(decode(line))

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _read_line(self) -> bytes:
        while b"\n" not in self._received:
            data = self._link.recv(65536)
            if not data:
                return b""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line
