"""A corporate proxy on loopback: it forwards requests and intercepts TLS with certificates of its own CA.

Bytes are passed on as they are; `seen` has the first request of every connection, as "METHOD HOST".
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from support import certificates

AUTHORITY = "Acme Private Authority"
_PATIENCE = 60


class Proxy:
    """Listens on a free port of 127.0.0.1. `ca` is the file of its authority."""

    def __init__(self, place: Path) -> None:
        self.seen: list[str] = []
        self.ca = certificates.authority(place, AUTHORITY)
        self._place = place
        self._making = threading.Lock()
        self._upstream = ssl.create_default_context()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(_PATIENCE)
            head = _head(client)
            method, target = head.decode("latin-1").split()[:2]
            if method == "CONNECT":
                self._open_tls(client, target.rpartition(":")[0])
            else:
                place = urlsplit(target)
                self.seen.append(f"{method} {place.hostname}")
                with socket.create_connection((place.hostname, place.port or 80), _PATIENCE) as server:
                    server.sendall(head)
                    _join(client, server)

    def _open_tls(self, client: socket.socket, host: str) -> None:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate(host))
        with (
            context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection((host, 443), _PATIENCE) as connection,
            self._upstream.wrap_socket(connection, server_hostname=host) as server,
        ):
            head = _head(inside)
            self.seen.append(f"{head.decode('latin-1').split()[0]} {host}")
            server.sendall(head)
            _join(inside, server)

    def _certificate(self, host: str) -> Path:
        """Certificate and key of a host, in one file."""
        made = self._place / f"{host}.both"
        with self._making:
            if not made.exists():
                parts = certificates.server(self._place, host, f"DNS:{host}")
                made.write_bytes(b"".join(part.read_bytes() for part in parts))
        return made


@contextlib.contextmanager
def proxy(place: Path) -> Iterator[Proxy]:
    """A proxy with its files in a directory."""
    made = Proxy(place)
    try:
        yield made
    finally:
        made.close()


def _head(source: socket.socket) -> bytes:
    """What is there of a request, at least its head."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = source.recv(65536)
        if not data:
            raise ConnectionError
        head += data
    return head


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass on in both directions until one side is done."""
    back = threading.Thread(target=_pass_on, args=(one, other), daemon=True)
    back.start()
    _pass_on(other, one)
    back.join(_PATIENCE)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
