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
    return to + bridge.mac(node) + b"".join(tags) + b"\x08\x00" + packet


def send(place: Place, name: str, *frames: bytes) -> None:
    """Have a container send frames, in this order."""
    place.sh(name, f"perl -e '{_SEND}' {' '.join(frame.hex() for frame in frames)}")


def _checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
