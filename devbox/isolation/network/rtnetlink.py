"""As much of rtnetlink(7) as a bridge and its veth pairs need. A socket speaks to the namespace it was opened in."""

from __future__ import annotations

import _socket  # the C half of `socket`, whose Python half costs a start 6 ms
import errno
import os
import struct

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_ERROR = 2

# Attributes of links (if_link.h), addresses (if_addr.h) and routes (rtnetlink.h).
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU, _LINK_MASTER, _LINK_INFO, _LINK_NETNS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_ADDR_ADDRESS, _ADDR_LOCAL = 1, 2
_ROUTE_GATEWAY, _ROUTE_INTERFACE = 5, 4

_UP = 0x1
_ADDR_NO_DAD = 0x2  # IFA_F_NODAD: usable at once
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST = 254, 3, 0, 1
_NESTED = 0x8000


class Netlink:
    """A request/answer conversation with the kernel about links, addresses and routes."""

    def __init__(self) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_socket.AF_NETLINK, kind, _socket.NETLINK_ROUTE)
        self._sequence = 0

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()

    def bring_up(self, name: str) -> None:
        """Set a link up."""
        self._ask(_NEWLINK, _link_header(index=_socket.if_nametoindex(name), flags=_UP), f"bring up {name}")

    def add_bridge(self, name: str, *, mtu: int, mac: bytes = b"") -> None:
        """Add a bridge, up. Without an address of its own it has that of a port, and another one with other ports."""
        address = _attribute(_LINK_ADDRESS, mac) if mac else b""
        body = _link_header(flags=_UP) + _text(_LINK_NAME, name) + _number(_LINK_MTU, mtu) + address + _kind("bridge")
        self._ask(_NEWLINK, body, f"add the bridge {name}", create=True)

    def delete(self, name: str) -> None:
        """Delete a link; quiet when there is none."""
        try:
            self._ask(_DELLINK, _link_header() + _text(_LINK_NAME, name), f"delete {name}")
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_veth(self, name: str, *, bridge: int, mtu: int, peer: str, peer_mac: bytes, peer_netns: int) -> None:
        """Add a veth end here, up, a port of the bridge with this index; its peer in another namespace."""
        other = (
            _link_header()
            + _text(_LINK_NAME, peer)
            + _number(_LINK_MTU, mtu)
            + _attribute(_LINK_ADDRESS, peer_mac)
            + _number(_LINK_NETNS_FD, peer_netns)
        )
        body = (
            _link_header(flags=_UP)
            + _text(_LINK_NAME, name)
            + _number(_LINK_MTU, mtu)
            + _number(_LINK_MASTER, bridge)
            + _kind("veth", _attribute(_VETH_PEER, other))
        )
        self._ask(_NEWLINK, body, f"connect {name}", create=True)

    def add_address(self, interface: int, address: str, prefix: int) -> None:
        """Give the link with this index an address."""
        family, packed = _pack_address(address)
        header = struct.pack("=BBBBI", family, prefix, _ADDR_NO_DAD, _SCOPE_UNIVERSE, interface)
        body = header + _attribute(_ADDR_LOCAL, packed) + _attribute(_ADDR_ADDRESS, packed)
        self._ask(_NEWADDR, body, f"add the address {address}", create=True)

    def add_default_route(self, interface: int, gateway: str) -> None:
        """Route everything else to a gateway."""
        family, packed = _pack_address(gateway)
        header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
        body = header + _attribute(_ROUTE_GATEWAY, packed) + _number(_ROUTE_INTERFACE, interface)
        self._ask(_NEWROUTE, body, f"route to {gateway}", create=True)

    def _ask(self, kind: int, body: bytes, purpose: str, *, create: bool = False) -> None:
        """Send one request and wait for the kernel's verdict."""
        self._sequence += 1
        flags = _REQUEST | _ACK | (_CREATE | _EXCL if create else 0)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, self._sequence, 0) + body)
        answer = self._socket.recv(65536)
        answered, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
        if answered != _ERROR:
            raise OSError(errno.EPROTO, f"{purpose}: unexpected netlink answer {answered}")
        if code != 0:
            raise OSError(-code, f"{purpose}: {os.strerror(-code)}")


def _link_header(*, index: int = 0, flags: int = 0) -> bytes:
    """struct ifinfomsg: only the up flag is ever changed."""
    return struct.pack("=BBHiII", _socket.AF_UNSPEC, 0, 0, index, flags, _UP if flags else 0)


def _kind(name: str, data: bytes = b"") -> bytes:
    """The nested attribute that says what kind of link it is."""
    inner = _text(_INFO_KIND, name) + (_attribute(_INFO_DATA | _NESTED, data) if data else b"")
    return _attribute(_LINK_INFO | _NESTED, inner)


def _attribute(number: int, payload: bytes) -> bytes:
    """struct rtattr: length, number, payload, padded to four bytes."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + b"\0" * (-length % 4)


def _text(number: int, value: str) -> bytes:
    return _attribute(number, value.encode() + b"\0")


def _number(number: int, value: int) -> bytes:
    return _attribute(number, struct.pack("=I", value))


def _pack_address(address: str) -> tuple[int, bytes]:
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    return family, _socket.inet_pton(family, address)
