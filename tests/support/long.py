"""Long connections: downloads, WebSockets, event streams; and how each ended from the client's view."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

DOWNLOAD, SOCKET, EVENTS = "download", "socket", "events"
WHOLE, CUT, REFUSED = "whole", "cut", "refused"

# For an application in Perl that answers one connection after the other: `/KIND/SECONDS` in a process of its own.
SERVER = r"""
    if ($path =~ m{^/(download|socket|events)/(\d+)}) {
        my ($kind, $seconds) = ($1, $2);
        $SIG{CHLD} = 'IGNORE';
        my $child = fork;
        if (defined $child && $child == 0) {
            $SIG{TERM} = 'DEFAULT';
            $SIG{PIPE} = sub { exit 0 };
            $client->autoflush(1);
            close $socket;
            print $client "HTTP/1.1 200 OK\r\nContent-Length: $seconds\r\nConnection: close\r\n\r\n"
                if $kind eq 'download';
            print $client "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                if $kind eq 'events';
            print $client "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                . "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" if $kind eq 'socket';
            for (1 .. $seconds) {
                sleep 1;
                print $client $kind eq 'download' ? 'x' : $kind eq 'events' ? "9\r\ndata: x\n\n\r\n" : "\x81\x01x";
            }
            print $client $kind eq 'events' ? "0\r\n\r\n" : $kind eq 'socket' ? "\x88\x00" : '';
            close $client;
            exit 0;
        }
        close $client;
        next;
    }
"""
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_ENDS = {EVENTS: b"0\r\n\r\n", SOCKET: b"\x88\x00"}


@dataclass
class Long:
    """Keeps `each` connections of each kind open until it is left; one that ends is begun again.

    `ended`: (kind, how) → connections; `answers`: of the refused ones, status → connections, "" for none. On leaving,
    those that are under way are waited for.
    """

    url: str
    seconds: int
    each: int = 2
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    began: int = 0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._visit, args=(kind,), daemon=True)
            for kind in (DOWNLOAD, SOCKET, EVENTS)
            for _ in range(self.each)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin none any more, and wait for the last."""
        self._over.set()
        for thread in self._threads:
            thread.join(self.seconds + 30)

    def count(self, how: str) -> int:
        return sum(count for (_, ended), count in self.ended.items() if ended == how)

    def _visit(self, kind: str) -> None:
        place = urlsplit(self.url)
        while not self._over.is_set():
            self.began += 1
            how = self._once(kind, str(place.hostname), int(place.port or 80))
            self.ended[kind, how] += 1
            if how == REFUSED:
                time.sleep(0.2)

    def _once(self, kind: str, host: str, port: int) -> str:
        got, began = b"", False
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=30) as link:
            more = _UPGRADE if kind == SOCKET else ""
            link.sendall(f"GET /{kind}/{self.seconds} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
            while data := link.recv(65536):
                got += data
                began = began or b"\r\n\r\n" in got
                if began and self._is_whole(kind, got):
                    return WHOLE
                if began and got.split()[1] not in (b"200", b"101"):
                    break  # the router keeps the connection open
        status = got.split()[1].decode() if began else ""
        if status in ("200", "101"):
            return CUT
        self.answers[status] += 1
        return REFUSED

    def _is_whole(self, kind: str, got: bytes) -> bool:
        if kind == DOWNLOAD:
            return got.partition(b"\r\n\r\n")[2] == b"x" * self.seconds
        return got.endswith(_ENDS[kind])
