"""DNS proxy of one container with an egress list; it opens the firewall for the addresses that it returns.

A separate process, forked into the instance's network namespace: it survives the replacement of a killed supervisor and
isolates hostile queries. Refused names are reported once each.
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
from devbox.isolation import forks, liveness, namespaces
from devbox.isolation.network import bridge, egress, egress_policy
from devbox.isolation.types import InstanceContext, NetNode, ProcessRef

NO_SUCH_NAME, FAILED = 3, 2
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL in seconds, length of the data
_RESPONSE, _OPERATION, _RECURSION = 0x8000, 0x7800, 0x0100
_RECURSION_AVAILABLE = 0x0080
_ADDRESS, _ADDRESS6, _INTERNET = 1, 28, 1
_POINTER = 0xC0


class MalformedMessage(ValueError):
    """A truncated or inconsistent DNS message."""


class Question(NamedTuple):
    """The question of a query. `end`: the end offset of the question section."""

    name: str  # lower case, without the trailing dot
    end: int


def parse_question(message: bytes) -> Question | None:
    """Return the question of a query; None unless the message is a query with exactly one uncompressed question."""
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
    """Build a negative response that repeats the question."""
    number, flags = struct.unpack_from("!HH", query)
    flags = _RESPONSE | _RECURSION_AVAILABLE | (flags & (_OPERATION | _RECURSION)) | code
    question = query[_HEADER.size : end]
    return _HEADER.pack(number, flags, 1 if question else 0, 0, 0, 0) + question


def is_answer_to(query: bytes, end: int, answer: bytes) -> bool:
    """Return whether a message answers exactly this query."""
    if len(answer) < end or not answer[2] & 0x80:
        return False
    return answer[:2] == query[:2] and answer[_HEADER.size : end].lower() == query[_HEADER.size : end].lower()


def parse_addresses(answer: bytes, end: int) -> list[tuple[str, int]]:
    """Return the answer section's addresses and TTLs in seconds; raise MalformedMessage if unreadable."""
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
    """Return the end offset of a name: its root label or first pointer."""
    while message[at] and not message[at] & _POINTER:
        at += 1 + message[at]
    return at + (2 if message[at] else 1)


_AT_ONCE = 32  # concurrent queries; more wait in the socket's buffer
_PATIENCE = 5.0  # seconds, for the host's resolver and for a client's query
_LARGEST = 65535
_MOST_REPORTS = 1000  # limit for the log of a container that queries endless names


class RunningDnsProxy(NamedTuple):
    """A running DNS proxy, a child of this process. `reports` yields a line per refused name."""

    process: ProcessRef
    port: int
    reports: int


def start(context: InstanceContext, node: NetNode, entries: tuple[str, ...]) -> RunningDnsProxy:
    """Start the proxy of the container at `node`; its port on the gateway is open on return."""
    nft = programs.find("nft")
    reports, reporting = os.pipe()

    def serve() -> None:
        namespaces.join(context.holder)
        stream, datagrams = _open_sockets(bridge.get_gateway(node))
        os.write(reporting, b"%d\n" % stream.getsockname()[1])
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # the pipe breaks when the supervisor is killed
        _close_all_but(0, 1, 2, reporting, stream.fileno(), datagrams.fileno())
        _DnsProxy(nft, node, entries, reporting).serve(stream, datagrams)

    child = forks.fork(serve)
    os.close(reporting)
    port = b""
    while not port.endswith(b"\n") and (more := os.read(reports, 1)):
        port += more
    failure = forks.read_failure(child.error_fd)
    process = liveness.identify(child.pid)
    if failure is not None or process is None:
        os.close(reports)
        os.waitpid(child.pid, 0)
        raise failure or EngineError(
            "cannot start the DNS proxy: exited immediately",
            remedy="run devbox up again; if that fails, find the cause with: devbox doctor",
        )
    return RunningDnsProxy(process, int(port), reports)


def _open_sockets(address: str) -> tuple[socket.socket, socket.socket]:
    """Open a stream and a datagram socket on the same free port."""
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
    """Close all inherited descriptors: the supervisor's socket would otherwise appear to listen after its death."""
    before = 0
    for fd in (*sorted(kept), 4096):
        if fd > before:  # close_range takes an empty range at 0 as everything
            os.closerange(before, fd)
        before = fd + 1


class _DnsProxy:
    """The DNS proxy of one container."""

    def __init__(self, nft: str, node: NetNode, entries: tuple[str, ...], reports: int) -> None:
        self._nft = nft
        self._node = node
        self._entries = entries
        self._reports = reports
        self._reported: set[str] = set()
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def serve(self, stream: socket.socket, datagrams: socket.socket) -> None:
        """Serve queries until killed."""
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
        """Handle a query in its own thread as soon as a slot is free."""
        self._room.acquire()

        def in_room() -> None:
            try:
                work()
            except OSError:
                return  # the client is gone
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
        """Return the response to a query; empty for a malformed query."""
        question = parse_question(query)
        if question is None:
            return b""
        allowed = egress_policy.find_allowed_ports(self._entries, question.name)
        if not allowed:
            self._report(question.name)
            return build_failure(query, question.end, NO_SUCH_NAME)
        try:
            answer = ask(query)
            if is_answer_to(query, question.end, answer):
                self._allow_addresses(parse_addresses(answer, question.end), allowed)
                return answer
        except (OSError, MalformedMessage):
            pass  # the host's resolver does not answer, or answers with garbage
        except DevboxError as error:
            sys.stderr.write(f"{error.render()}\n")
        return build_failure(query, question.end, FAILED)

    def _allow_addresses(self, found: list[tuple[str, int]], allowed: frozenset[int]) -> None:
        """Open the firewall for addresses before the container learns them."""
        if text := egress_policy.build_admission(self._node, found, allowed):
            programs.call([self._nft, "-f", "-"], purpose="allow the addresses of a host name", text=text.encode())

    def _report(self, name: str) -> None:
        """Report a refused name to the supervisor, if it runs. A name may contain any byte except a dot."""
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
    """Receive one message of a stream; raise ConnectionError if the stream ends early."""
    with link.makefile("rb") as stream:
        length = stream.read(2)
        message = stream.read(struct.unpack("!H", length)[0]) if len(length) == 2 else b""  # noqa: PLR2004
    if not message:
        raise ConnectionError("the stream ended inside a message")
    return message
