"""The instance network: a bridge in the holder's network namespace, one veth pair per container."""

from __future__ import annotations

import _socket  # the C half of `socket`; the Python half adds 6 ms to start-up
import contextlib
import errno
import os
import struct
from typing import NamedTuple

from devbox.errors import EngineError
from devbox.isolation import forks, namespaces, syscalls
from devbox.isolation.types import InstanceContext, NetNode, ProcessRef

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
    """A netlink connection for links, addresses and routes."""

    def __init__(self) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_socket.AF_NETLINK, kind, _socket.NETLINK_ROUTE)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def bring_up(self, name: str) -> None:
        """Set a link up."""
        self._request(_NEWLINK, _pack_link_header(index=_socket.if_nametoindex(name), flags=_UP), f"bring up {name}")

    def add_bridge(self, name: str, *, mtu: int, mac: bytes = b"") -> None:
        """Add a bridge, up. Without `mac` it takes the address of a port, which changes with the set of ports."""
        address = _pack_attribute(_LINK_ADDRESS, mac) if mac else b""
        body = (
            _pack_link_header(flags=_UP)
            + _pack_text(_LINK_NAME, name)
            + _pack_number(_LINK_MTU, mtu)
            + address
            + _pack_link_kind("bridge")
        )
        self._request(_NEWLINK, body, f"add the bridge {name}", create=True)

    def delete(self, name: str) -> None:
        """Delete a link; no-op if missing."""
        try:
            self._request(_DELLINK, _pack_link_header() + _pack_text(_LINK_NAME, name), f"delete {name}")
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_veth(self, name: str, *, bridge: int, mtu: int, peer: str, peer_mac: bytes, peer_netns: int) -> None:
        """Add a veth end, up, as a port of the bridge with this index; its peer is in another namespace."""
        other = (
            _pack_link_header()
            + _pack_text(_LINK_NAME, peer)
            + _pack_number(_LINK_MTU, mtu)
            + _pack_attribute(_LINK_ADDRESS, peer_mac)
            + _pack_number(_LINK_NETNS_FD, peer_netns)
        )
        body = (
            _pack_link_header(flags=_UP)
            + _pack_text(_LINK_NAME, name)
            + _pack_number(_LINK_MTU, mtu)
            + _pack_number(_LINK_MASTER, bridge)
            + _pack_link_kind("veth", _pack_attribute(_VETH_PEER, other))
        )
        self._request(_NEWLINK, body, f"connect {name}", create=True)

    def add_address(self, interface: int, address: str, prefix: int) -> None:
        """Add an address to the link with this index."""
        family, packed = _pack_address(address)
        header = struct.pack("=BBBBI", family, prefix, _ADDR_NO_DAD, _SCOPE_UNIVERSE, interface)
        body = header + _pack_attribute(_ADDR_LOCAL, packed) + _pack_attribute(_ADDR_ADDRESS, packed)
        self._request(_NEWADDR, body, f"add the address {address}", create=True)

    def add_default_route(self, interface: int, gateway: str) -> None:
        """Add a default route through a gateway."""
        family, packed = _pack_address(gateway)
        header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
        body = header + _pack_attribute(_ROUTE_GATEWAY, packed) + _pack_number(_ROUTE_INTERFACE, interface)
        self._request(_NEWROUTE, body, f"route to {gateway}", create=True)

    def _request(self, kind: int, body: bytes, purpose: str, *, create: bool = False) -> None:
        """Send one request and wait for the kernel's acknowledgement; raise OSError on an error."""
        self._sequence += 1
        flags = _REQUEST | _ACK | (_CREATE | _EXCL if create else 0)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, self._sequence, 0) + body)
        answer = self._socket.recv(65536)
        answered, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
        if answered != _ERROR:
            raise OSError(errno.EPROTO, f"{purpose}: unexpected netlink answer {answered}")
        if code != 0:
            raise OSError(-code, f"{purpose}: {os.strerror(-code)}")


def _pack_link_header(*, index: int = 0, flags: int = 0) -> bytes:
    """Pack struct ifinfomsg; only the up flag is ever changed."""
    return struct.pack("=BBHiII", _socket.AF_UNSPEC, 0, 0, index, flags, _UP if flags else 0)


def _pack_link_kind(name: str, data: bytes = b"") -> bytes:
    """Pack the nested attribute for the link kind."""
    inner = _pack_text(_INFO_KIND, name) + (_pack_attribute(_INFO_DATA | _NESTED, data) if data else b"")
    return _pack_attribute(_LINK_INFO | _NESTED, inner)


def _pack_attribute(number: int, payload: bytes) -> bytes:
    """Pack struct rtattr: length, number, payload, padded to four bytes."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + b"\0" * (-length % 4)


def _pack_text(number: int, value: str) -> bytes:
    return _pack_attribute(number, value.encode() + b"\0")


def _pack_number(number: int, value: int) -> bytes:
    return _pack_attribute(number, struct.pack("=I", value))


def _pack_address(address: str) -> tuple[int, bytes]:
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    return family, _socket.inet_pton(family, address)


BRIDGE = "devbox0"
INTERFACE = "eth0"  # inside a container
PREFIX = 16
PREFIX6 = 64
SUBNET = "10.213"
_SUBNETS = (SUBNET, "172.29", "10.87", "100.111", "172.22", "192.168", "198.18")  # each a /16; first unused one
_COVERS_ALL = 8  # bits: a shorter prefix is a default route, as in a full VPN (0/1, 128/1)
GATEWAY6 = "fdd5:6465:7662::1"
MOST_PORTS = 1023  # of a Linux bridge
_MTU = 65520  # no physical link; same as pasta's interface
_FIRST = 2
_LAST = 65533


def host_has_ipv6() -> bool:
    """Return whether the host has an IPv6 address beyond link scope (containers then get ULAs)."""
    try:
        with open("/proc/net/if_inet6", encoding="utf-8") as source:
            return any(line.split()[3] == "00" for line in source)
    except FileNotFoundError:
        return False


def find_free_subnet() -> str:
    """Return the first two octets of a /16 without a host route, so that containers reach the host's networks."""
    with open("/proc/net/route", encoding="utf-8") as source:
        return choose_subnet(source.read())


def choose_subnet(routes: str) -> str:
    """Return the first subnet that overlaps no route of /proc/net/route, or the first if all do. Pure."""
    known = []
    for line in routes.splitlines()[1:]:
        target, mask = (_socket.ntohl(int(line.split()[column], 16)) for column in (1, 7))
        if mask.bit_count() >= _COVERS_ALL:
            known.append((target, mask))

    def is_free(subnet: str) -> bool:
        high, low = map(int, subnet.split("."))
        place = high << 24 | low << 16
        return all((place ^ target) & mask & 0xFFFF0000 for target, mask in known)

    return next(filter(is_free, _SUBNETS), _SUBNETS[0])


def get_gateway(node: NetNode) -> str:
    """Return the bridge's address in this container's subnet. Pure."""
    return get_subnet_gateway(get_subnet(node))


def get_subnet(node: NetNode) -> str:
    """Return the first two octets of a container's address. Pure."""
    return ".".join(node.address.split(".")[:2])


def get_subnet_gateway(subnet: str) -> str:
    """Return the bridge's address in a subnet. Pure."""
    return f"{subnet}.0.1"


def make_node(index: int, *, ipv6: bool, subnet: str = SUBNET) -> NetNode:
    """Return the addresses of the container with this index (0, 1, …) in its instance. Pure."""
    number = index + _FIRST
    if not _FIRST <= number <= _LAST:
        raise EngineError(
            f"the instance network has no address for container {index}", remedy="devbox down, then devbox up"
        )
    return NetNode(f"{subnet}.{number >> 8}.{number & 255}", f"fdd5:6465:7662::{number:x}" if ipv6 else "")


def make_bridge(holder: ProcessRef, *, ipv6: bool, subnet: str = SUBNET) -> None:
    """Create the bridge with the gateway's addresses, bring up loopback, enable forwarding. Once per instance."""

    def build() -> None:
        link = Netlink()
        link.bring_up("lo")
        # A fixed MAC: containers would keep sending to a changed address for seconds.
        link.add_bridge(BRIDGE, mtu=_MTU, mac=get_mac(NetNode(get_subnet_gateway(subnet), "")))
        _disable_router_adverts(BRIDGE)
        bridge = _socket.if_nametoindex(BRIDGE)
        link.add_address(bridge, get_subnet_gateway(subnet), PREFIX)
        _write_sysctl("ipv4/ip_forward", "1")
        _write_sysctl(
            "ipv4/conf/all/route_localnet", "1"
        )  # a port published on the host's loopback arrives from 127.0.0.1
        if ipv6:
            link.add_address(bridge, GATEWAY6, PREFIX6)
            _write_sysctl("ipv6/conf/all/forwarding", "1")

    namespaces.run_inside(holder, build)


class NetnsChild(NamedTuple):
    """A child that keeps a container's new network namespace open until it is pinned."""

    child: forks.ForkedChild
    ready: int
    release: int


def start_netns_child(context: InstanceContext, node: NetNode | None) -> NetnsChild:
    """Start creating a container's network namespace, attached to the bridge as `node` (None: loopback only).

    The holder's user namespace owns it: otherwise the container could neither bind port 80 nor ping.
    """
    ready, release = os.pipe(), os.pipe()

    def plug() -> None:
        os.close(release[1])
        if not context.idmap.rootless:  # a rootless launch has joined it already
            namespaces.join(context.holder, network=False)
        unshare_network(context.holder, node)
        os.write(ready[1], b"1")
        os.read(release[0], 1)

    child = forks.fork(plug)
    os.close(ready[1])
    os.close(release[0])
    return NetnsChild(child, ready[0], release[1])


def pin_child_netns(plug: NetnsChild, path: str) -> None:
    """Wait for the namespace and bind-mount it on the file `path`, in this process's mount namespace."""
    if os.read(plug.ready, 1):
        pin_netns(f"/proc/{plug.child.pid}/ns/net", path)
    os.close(plug.ready)
    os.close(plug.release)
    forks.wait(plug.child)


def pin_netns(netns: str, path: str) -> None:
    """Bind-mount a network namespace on the file `path`, in this process's mount namespace."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    syscalls.mount(netns, path, flags=syscalls.MS_BIND)


def unshare_network(holder: ProcessRef, node: NetNode | None) -> None:
    """Move this process into a new network namespace with a veth pair to the bridge."""
    if node is None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        _configure_netns(Netlink())
        return
    namespaces.join(holder, user=False)
    outside = Netlink()
    bridge = _socket.if_nametoindex(BRIDGE)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    port = get_port_name(node)
    outside.delete(port)  # left by a dead predecessor whose namespace the kernel has not cleaned up yet
    try:
        outside.add_veth(port, bridge=bridge, mtu=_MTU, peer=INTERFACE, peer_mac=get_mac(node), peer_netns=own)
    except OSError as error:
        if error.errno != errno.EXFULL:
            raise
        raise EngineError(
            f"the instance network is full: at most {MOST_PORTS} containers",
            remedy="stop some containers: devbox stop NAME",
        ) from None
    inside = Netlink()
    _configure_netns(inside)
    _disable_router_adverts(INTERFACE)
    inside.bring_up(INTERFACE)
    interface = _socket.if_nametoindex(INTERFACE)
    inside.add_address(interface, node.address, PREFIX)
    inside.add_default_route(interface, get_gateway(node))
    if node.address6:
        inside.add_address(interface, node.address6, PREFIX6)
        inside.add_default_route(interface, GATEWAY6)


def _configure_netns(link: Netlink) -> None:
    """Bring up loopback; as in Docker, allow any user to bind low ports and to ping without a raw socket."""
    link.bring_up("lo")
    _write_sysctl("ipv4/ip_unprivileged_port_start", "0")
    _write_sysctl("ipv4/ping_group_range", "0 65535")


def _disable_router_adverts(interface: str) -> None:
    """Ignore router advertisements: only another container could send one."""
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        _write_sysctl(f"ipv6/conf/{interface}/accept_ra", "0")


def get_port_name(node: NetNode) -> str:
    """Return the name of a container's bridge port; unique, as addresses are (names are limited to 15 characters)."""
    high, low = node.address.split(".")[2:]
    return f"port{high}.{low}"


def get_mac(node: NetNode) -> bytes:
    """Return a container's MAC address; stable across restarts, so that neighbour caches stay valid."""
    return b"\x02\xdb" + _socket.inet_aton(node.address)


def _write_sysctl(name: str, value: str) -> None:
    """Set a sysctl of this process's network namespace."""
    with open(f"/proc/sys/net/{name}", "w", encoding="utf-8") as target:
        target.write(value)
