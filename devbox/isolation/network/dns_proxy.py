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
from devbox.isolation import forks, namespaces, state
from devbox.isolation.network import bridge, egress, egress_policy
from devbox.isolation.types import InstanceContext, NetNode, ProcessRef

NO_SUCH_NAME, FAILED, NOT_UNDERSTOOD = 3, 2, 1
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")  # type, class, seconds to live, length of the data
_RESPONSE, _OPERATION, _RECURSION = 0x8000, 0x7800, 0x0100
_RECURSION_AVAILABLE = 0x0080
_ADDRESS, _ADDRESS6, _INTERNET = 1, 28, 1
_POINTER = 0xC0


class MalformedMessage(ValueError):
    """A message that is cut off, or contradicts itself."""


class Question(NamedTuple):
    """What a query asks for. `end`: where its question section ends."""

    name: str  # lower case, without the last point
    end: int


def parse_question(message: bytes) -> Question | None:
    """The question of a query; None for anything that is not one question in the plain."""
    if len(message) < _HEADER.size:
        return None
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if flags & (_RESPONSE | _OPERATION) or questions != 1 or answers:
        return None
    labels, at = [], _HEADER.size
    while at < len(message) and (length := message[at]):
        if length & _POINTER or at + 1 + length > len(message):
            return None
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length
    end = at + 5  # the root label, type, class
    if end > len(message) or not all(label.isascii() and b"." not in label for label in labels):
        return None
    return Question(b".".join(labels).decode("ascii").lower(), end)


def build_failure(query: bytes, end: int, code: int) -> bytes:
    """The answer that says no, in the words of the question."""
    number, flags = struct.unpack_from("!HH", query)
    flags = _RESPONSE | _RECURSION_AVAILABLE | (flags & (_OPERATION | _RECURSION)) | code
    asked = query[_HEADER.size : end]
    return _HEADER.pack(number, flags, 1 if asked else 0, 0, 0, 0) + asked


def is_answer_to(query: bytes, end: int, answer: bytes) -> bool:
    """Whether a message answers this very query."""
    if len(answer) < end or not answer[2] & 0x80:
        return False
    return answer[:2] == query[:2] and answer[_HEADER.size : end].lower() == query[_HEADER.size : end].lower()


def parse_addresses(answer: bytes, end: int) -> list[tuple[str, int]]:
    """The addresses in the answer section and their seconds to live. Crooked when it can't be read."""
    found: list[tuple[str, int]] = []
    at = end
    try:
        for _ in range(_HEADER.unpack_from(answer)[3]):
            at = _skip_name(answer, at)
            kind, family, ttl, length = _RECORD.unpack_from(answer, at)
            at += _RECORD.size
            data, at = answer[at : at + length], at + length
            if family == _INTERNET and kind in (_ADDRESS, _ADDRESS6):
                found.append((socket.inet_ntop(socket.AF_INET if kind == _ADDRESS else socket.AF_INET6, data), ttl))
    except (struct.error, IndexError, ValueError) as error:
        raise MalformedMessage(str(error)) from None
    return found


def _skip_name(message: bytes, at: int) -> int:
    """Where a name ends: at its root label, or behind its first pointer."""
    while message[at] and not message[at] & _POINTER:
        at += 1 + message[at]
    return at + (2 if message[at] else 1)


_AT_ONCE = 32  # queries under way; more wait in the socket's buffer
_PATIENCE = 5.0  # seconds for the host's resolver, and for a client to say what it wants
_LARGEST = 65535
_MOST_REPORTS = 1000  # a container that asks for endless names fills no log


class RunningDnsProxy(NamedTuple):
    """A running answerer, a child of this process. `reports` gives a line for each name it refuses."""

    process: ProcessRef
    port: int
    reports: int


def start(context: InstanceContext, node: NetNode, entries: tuple[str, ...]) -> RunningDnsProxy:
    """Start one for the container at `node`; its port of the gateway is open when this returns."""
    nft = programs.find("nft")
    reports, reporting = os.pipe()

    def serve() -> None:
        namespaces.join(context.holder)
        stream, datagrams = _open_sockets(bridge.get_gateway(node))
        os.write(reporting, b"%d\n" % stream.getsockname()[1])
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # of a supervisor that was killed
        _close_all_but(0, 1, 2, reporting, stream.fileno(), datagrams.fileno())
        _DnsProxy(nft, node, entries, reporting).serve(stream, datagrams)

    child = forks.fork(serve)
    os.close(reporting)
    port = b""
    while not port.endswith(b"\n") and (more := os.read(reports, 1)):
        port += more
    failure = forks.read_failure(child.error_fd)
    process = state.identify(child.pid)
    if failure is not None or process is None:
        os.close(reports)
        os.waitpid(child.pid, 0)
        raise failure or EngineError(
            "what answers a container's name queries died at once",
            remedy="devbox up once more; devbox doctor looks for the cause",
        )
    return RunningDnsProxy(process, int(port), reports)


def _open_sockets(address: str) -> tuple[socket.socket, socket.socket]:
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


class _DnsProxy:
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
                self._start_thread(functools.partial(self._serve_datagram, datagrams, query, peer))

    def _accept(self, stream: socket.socket) -> None:
        while True:
            link, peer = stream.accept()
            if peer[0] == self._node.address:
                self._start_thread(functools.partial(self._serve_stream, link))
            else:
                link.close()

    def _start_thread(self, work: Callable[[], None]) -> None:
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

    def _serve_datagram(self, datagrams: socket.socket, query: bytes, peer: tuple[str, int]) -> None:
        if answer := self._answer(query, _query_udp):
            datagrams.sendto(answer, peer)

    def _serve_stream(self, link: socket.socket) -> None:
        with link:
            link.settimeout(_PATIENCE)
            if answer := self._answer(_receive(link), _query_tcp):
                _send(link, answer)

    def _answer(self, query: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        """The answer to a query; nothing to what is none."""
        asked = parse_question(query)
        if asked is None:
            return b""
        allowed = egress_policy.find_allowed_ports(self._entries, asked.name)
        if not allowed:
            self._report(asked.name)
            return build_failure(query, asked.end, NO_SUCH_NAME)
        try:
            answer = ask(query)
            if is_answer_to(query, asked.end, answer):
                self._allow_addresses(parse_addresses(answer, asked.end), allowed)
                return answer
        except (OSError, MalformedMessage):
            pass  # the host's resolver is silent, or talks nonsense
        except DevboxError as error:
            sys.stderr.write(f"{error.render()}\n")
        return build_failure(query, asked.end, FAILED)

    def _allow_addresses(self, found: list[tuple[str, int]], allowed: frozenset[int]) -> None:
        """Let the container reach addresses before it knows them."""
        if text := egress_policy.build_admission(self._node, found, allowed):
            programs.call([self._nft, "-f", "-"], purpose="let a name's addresses through", text=text.encode())

    def _report(self, name: str) -> None:
        """Tell the supervisor, if there is one, what was refused. A name may hold any byte but a point."""
        if name in self._reported or len(self._reported) >= _MOST_REPORTS:
            return
        self._reported.add(name)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._reports, f"{name if name.isprintable() else ascii(name)}\n".encode())


def _query_udp(query: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(_PATIENCE)
        link.connect((egress.RESOLVER, 53))
        link.send(query)
        return link.recv(_LARGEST)


def _query_tcp(query: bytes) -> bytes:
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
