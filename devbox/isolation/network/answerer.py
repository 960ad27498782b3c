"""Answers the name queries of one container with an egress list, and lets it reach what it hands out.

A process of its own, forked into the instance's network namespace: it goes on while a killed supervisor is replaced,
and what a hostile container sends it reaches nothing else. What it refuses it reports, each name once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

from devbox.errors import DevboxError, EngineError
from devbox.host import programs
from devbox.isolation import forks, living, namespaces
from devbox.isolation.network import bridge, dns, egress, names
from devbox.isolation.types import Context, NetNode, ProcessRef

_AT_ONCE = 32  # queries under way; more wait in the socket's buffer
_PATIENCE = 5.0  # seconds for the host's resolver, and for a client to say what it wants
_LARGEST = 65535
_MOST_REPORTS = 1000  # a container that asks for endless names fills no log


class Started(NamedTuple):
    """A running answerer, a child of this process. `reports` gives a line for each name it refuses."""

    process: ProcessRef
    port: int
    reports: int


def start(context: Context, node: NetNode, entries: tuple[str, ...]) -> Started:
    """Start one for the container at `node`; its port of the gateway is open when this returns."""
    nft = programs.find("nft")
    reports, reporting = os.pipe()

    def serve() -> None:
        namespaces.join(context.holder)
        stream, datagrams = _sockets(bridge.gateway(node))
        os.write(reporting, b"%d\n" % stream.getsockname()[1])
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # of a supervisor that was killed
        _close_all_but(0, 1, 2, reporting, stream.fileno(), datagrams.fileno())
        _Answerer(nft, node, entries, reporting).serve(stream, datagrams)

    child = forks.fork(serve)
    os.close(reporting)
    port = b""
    while not port.endswith(b"\n") and (more := os.read(reports, 1)):
        port += more
    failure = forks.read_failure(child.error_fd)
    process = living.identify(child.pid)
    if failure is not None or process is None:
        os.close(reports)
        os.waitpid(child.pid, 0)
        raise failure or EngineError(
            "what answers a container's name queries died at once",
            remedy="devbox up once more; devbox doctor looks for the cause",
        )
    return Started(process, int(port), reports)


def _sockets(address: str) -> tuple[socket.socket, socket.socket]:
    """A stream and a datagram socket at the same free port."""
    while True:
        stream = socket.create_server((address, 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(stream.getsockname())
        except OSError:
            stream.close()
            datagrams.close()
        else:
            return stream, datagrams


def _close_all_but(*kept: int) -> None:
    """Let go of everything of the supervisor's: its socket would else seem to be listening after its death."""
    before = 0
    for fd in (*sorted(kept), 4096):
        if fd > before:  # an empty range at 0 is taken for all there is
            os.closerange(before, fd)
        before = fd + 1


class _Answerer:
    """One container's."""

    def __init__(self, nft: str, node: NetNode, entries: tuple[str, ...], reports: int) -> None:
        self._nft = nft
        self._node = node
        self._entries = entries
        self._reports = reports
        self._reported: set[str] = set()
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def serve(self, stream: socket.socket, datagrams: socket.socket) -> None:
        """Until killed."""
        threading.Thread(target=self._accept, args=(stream,), daemon=True).start()
        while True:
            query, peer = datagrams.recvfrom(_LARGEST)
            if peer[0] == self._node.address:
                self._begin(functools.partial(self._by_datagram, datagrams, query, peer))

    def _accept(self, stream: socket.socket) -> None:
        while True:
            link, peer = stream.accept()
            if peer[0] == self._node.address:
                self._begin(functools.partial(self._by_stream, link))
            else:
                link.close()

    def _begin(self, work: Callable[[], None]) -> None:
        """Work on a query in a thread of its own, as soon as there is room."""
        self._room.acquire()

        def in_room() -> None:
            try:
                work()
            except OSError:
                return  # whoever asked is gone, and nobody else waits for it
            finally:
                self._room.release()

        threading.Thread(target=in_room, daemon=True).start()

    def _by_datagram(self, datagrams: socket.socket, query: bytes, peer: tuple[str, int]) -> None:
        if answer := self._answer(query, _ask_by_datagram):
            datagrams.sendto(answer, peer)

    def _by_stream(self, link: socket.socket) -> None:
        with link:
            link.settimeout(_PATIENCE)
            if answer := self._answer(_receive(link), _ask_by_stream):
                _send(link, answer)

    def _answer(self, query: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        """The answer to a query; nothing to what is none."""
        asked = dns.question(query)
        if asked is None:
            return b""
        allowed = names.ports(self._entries, asked.name)
        if not allowed:
            self._report(asked.name)
            return dns.failure(query, asked.end, dns.NO_SUCH_NAME)
        try:
            answer = ask(query)
            if dns.answers_to(query, asked.end, answer):
                self._admit(dns.addresses(answer, asked.end), allowed)
                return answer
        except (OSError, dns.Crooked):
            pass  # the host's resolver is silent, or talks nonsense
        except DevboxError as error:
            sys.stderr.write(f"{error.render()}\n")
        return dns.failure(query, asked.end, dns.FAILED)

    def _admit(self, found: list[tuple[str, int]], allowed: frozenset[int]) -> None:
        """Let the container reach addresses before it knows them."""
        if text := names.admission(self._node, found, allowed):
            programs.call([self._nft, "-f", "-"], purpose="let a name's addresses through", text=text.encode())

    def _report(self, name: str) -> None:
        """Tell the supervisor, if there is one, what was refused. A name may hold any byte but a point."""
        if name in self._reported or len(self._reported) >= _MOST_REPORTS:
            return
        self._reported.add(name)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._reports, f"{name if name.isprintable() else ascii(name)}\n".encode())


def _ask_by_datagram(query: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(_PATIENCE)
        link.connect((egress.RESOLVER, 53))
        link.send(query)
        return link.recv(_LARGEST)


def _ask_by_stream(query: bytes) -> bytes:
    with socket.create_connection((egress.RESOLVER, 53), timeout=_PATIENCE) as link:
        _send(link, query)
        return _receive(link)


def _send(link: socket.socket, message: bytes) -> None:
    link.sendall(struct.pack("!H", len(message)) + message)


def _receive(link: socket.socket) -> bytes:
    """One message of a stream; OSError when it ends before."""
    with link.makefile("rb") as stream:
        length = stream.read(2)
        message = stream.read(struct.unpack("!H", length)[0]) if len(length) == 2 else b""  # noqa: PLR2004
    if not message:
        raise ConnectionError("the stream ended within a message")
    return message
