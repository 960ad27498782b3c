"""Frames that a container writes itself, past its own addresses and routes: it has NET_RAW, as Docker's have."""

from __future__ import annotations

import socket
import struct

from support.place import Place

from devbox.isolation.network import bridge
from devbox.isolation.types import NetNode

PRIORITY, SERVICE_PRIORITY = b"\x81\x00\x00\x00", b"\x88\xa8\x00\x00"
_SEND = (
    'open(F, "/sys/class/net/eth0/ifindex"); socket(S, 17, 3, 0) or die $!;'
    'bind(S, pack(q{S n i S C C a8}, 17, 0x800, <F>, 0, 0, 6, "")) or die $!;'
    'for (@ARGV) { send(S, pack("H*", $_), 0) or die $! }'
)


def datagram(
    node: NetNode, *, to: bytes, sender: str, target: str, port: int, text: bytes, tags: tuple[bytes, ...] = ()
) -> bytes:
    """A frame with a UDP datagram, from the hardware address of `node` to the hardware address `to`.

    `tags` (PRIORITY, SERVICE_PRIORITY) are of no VLAN: the kernel takes them off as if they had not been there.
    """
    udp = struct.pack("!HHHH", 4000, port, 8 + len(text), 0) + text
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP)
    ends = socket.inet_aton(sender) + socket.inet_aton(target)
    packet = start + struct.pack("!H", _checksum(start + bytes(2) + ends)) + ends + udp
    return to + bridge.get_mac(node) + b"".join(tags) + b"\x08\x00" + packet


def router_advertisement(node: NetNode, *, prefix: str) -> bytes:
    """A frame by which a container says to all others that it is the way out, and where they are: RFC 4861, 4.2."""
    everyone, itself = socket.inet_pton(socket.AF_INET6, "ff02::1"), socket.inet_pton(socket.AF_INET6, "fe80::bad")
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + socket.inet_pton(socket.AF_INET6, prefix)
    head, rest = struct.pack("!BB", 134, 0), struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option
    size = len(head) + 2 + len(rest)
    pseudo = itself + everyone + struct.pack("!II", size, socket.IPPROTO_ICMPV6)
    message = head + struct.pack("!H", _checksum(pseudo + head + bytes(2) + rest)) + rest
    start = struct.pack("!IHBB", 6 << 28, size, socket.IPPROTO_ICMPV6, 255)
    return b"\x33\x33\x00\x00\x00\x01" + bridge.get_mac(node) + b"\x86\xdd" + start + itself + everyone + message


def send(place: Place, name: str, *frames: bytes) -> None:
    """Have a container send frames, in this order."""
    place.sh(name, f"perl -e '{_SEND}' {' '.join(frame.hex() for frame in frames)}")


def _checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
