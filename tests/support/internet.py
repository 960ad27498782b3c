"""A small private internet: a network namespace with a resolver and hosts that answer. Root only.

Within it this process, and what it starts, sees no other network. Addresses are those that documents may use.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from devbox.isolation import syscalls
from devbox.isolation.network.bridge import Netlink

RESOLVER = "198.51.100.53"
# Names and what the resolver says of them. `many.example` has more addresses than a datagram of 512 bytes holds.
MANY = [f"198.51.100.{number}" for number in range(100, 160)]
ZONE = {
    "a.example": ["198.51.100.1", "2001:db8:2::1"],
    "deep.a.example": ["198.51.100.2"],
    "b.example": ["198.51.100.3"],
    "here.example": ["127.0.0.1", "169.254.1.53", "198.51.100.1"],
    "many.example": MANY,
    "resolver.example": [RESOLVER],
}
HOSTS = ("198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.100", "2001:db8:2::1")
PORTS = (443, 8080)
_SECONDS = 1  # to live, as a content delivery network has it
_PLAIN = 512


@contextlib.contextmanager
def internet(*, ipv6: bool) -> Iterator[None]:
    """Be in it, with all its hosts up."""
    before = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "mnt")]
    place = os.getcwd()
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    with tempfile.NamedTemporaryFile("w", suffix="-resolv.conf") as resolv:
        try:
            syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
            resolv.write(f"nameserver {RESOLVER}\n")
            resolv.flush()
            Path(resolv.name).chmod(0o644)
            syscalls.mount(resolv.name, os.path.realpath("/etc/resolv.conf"), flags=syscalls.MS_BIND)
            _connect(ipv6=ipv6)
            with _up(ipv6=ipv6):
                yield
        finally:
            for fd in before:
                syscalls.setns(f"/proc/self/fd/{fd}")
                os.close(fd)
            os.chdir(place)


def _connect(*, ipv6: bool) -> None:
    """An interface with a default route for pasta to copy; the hosts themselves are addresses of the loopback."""
    link = Netlink()
    link.bring_up("lo")
    link.add_bridge("out0", mtu=1500)
    out, own = socket.if_nametoindex("out0"), socket.if_nametoindex("lo")
    link.add_address(out, "192.0.2.2", 24)
    link.add_default_route(out, "192.0.2.1")
    if ipv6:
        link.add_address(out, "2001:db8:1::2", 64)
        link.add_default_route(out, "2001:db8:1::1")
    for address in {RESOLVER, *HOSTS}:
        if ipv6 or ":" not in address:
            link.add_address(own, address, 128 if ":" in address else 32)
    link.close()


@contextlib.contextmanager
def _up(*, ipv6: bool) -> Iterator[None]:
    """The hosts, in a process of their own."""
    hosts = [address for address in HOSTS if ipv6 or ":" not in address]
    argv = [sys.executable, __file__, *hosts]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={"PYTHONPATH": os.pathsep.join(sys.path)}) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        try:
            yield
        finally:
            running.kill()


def _serve(hosts: list[str]) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((RESOLVER, 53))
    threads = [threading.Thread(target=_resolve_datagrams, args=(datagrams,))]
    threads.append(_listener(RESOLVER, 53, _resolve_stream))
    threads += [_listener(host, port, _say_hello) for host in hosts for port in PORTS]
    for thread in threads:
        thread.start()
    print("up", flush=True)


def _listener(address: str, port: int, answer: object) -> threading.Thread:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, port), family=family)

    def accept() -> None:
        while True:
            link, _ = server.accept()
            with link, contextlib.suppress(OSError):
                answer(link)  # type: ignore[operator]

    return threading.Thread(target=accept)


def _say_hello(link: socket.socket) -> None:
    link.sendall(b"hello from " + link.getsockname()[0].encode() + b"\n")


def _resolve_datagrams(datagrams: socket.socket) -> None:
    while True:
        query, peer = datagrams.recvfrom(4096)
        answer = _answer(query)
        if len(answer) > _PLAIN:
            answer = answer[:2] + b"\x83\x80" + answer[4:6] + bytes(6) + answer[12 : _end(answer)]
        datagrams.sendto(answer, peer)


def _resolve_stream(link: socket.socket) -> None:
    link.settimeout(5)
    with link.makefile("rb") as stream:
        query = stream.read(struct.unpack("!H", stream.read(2))[0])
    answer = _answer(query)
    link.sendall(struct.pack("!H", len(answer)) + answer)


def _answer(query: bytes) -> bytes:
    """An answer with a CNAME in front, as most have it. The additional section of the query is left out."""
    end = _end(query)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind = struct.unpack_from("!H", query, end - 4)[0]
    family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
    found = ZONE.get(".".join(labels))
    data = [socket.inet_pton(family, a) for a in found or () if family and (":" in a) == (kind == 28)]
    alias = b"\x03cdn\x03net\x00"
    records = [b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, _SECONDS, len(alias)) + alias]
    records += [alias + struct.pack("!HHIH", kind, 1, _SECONDS, len(item)) + item for item in data]
    code = 0 if found is not None else 3
    header = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records) if data else 0, 0, 0)
    return header + query[12:end] + (b"".join(records) if data else b"")


def _end(message: bytes) -> int:
    at = 12
    while message[at]:
        at += 1 + message[at]
    return at + 5


if __name__ == "__main__":
    _serve(sys.argv[1:])
