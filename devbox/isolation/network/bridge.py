"""The instance network: a bridge in the holder's network namespace, one veth pair per container."""

from __future__ import annotations

import _socket  # the C half of `socket`, whose Python half costs a start 6 ms
import contextlib
import errno
import os
from typing import NamedTuple

from devbox.errors import EngineError
from devbox.isolation import forks, namespaces, syscalls
from devbox.isolation.network.rtnetlink import Netlink
from devbox.isolation.types import Context, NetNode, ProcessRef

BRIDGE = "devbox0"
INTERFACE = "eth0"  # inside a container
PREFIX = 16
PREFIX6 = 64
SUBNET = "10.213"
_SUBNETS = (SUBNET, "172.29", "10.87", "100.111", "172.22", "192.168", "198.18")  # each /16; the first that is free
_COVERS_ALL = 8  # bits: a wider route is a way to everything else, as those of a full VPN (0/1, 128/1)
GATEWAY6 = "fdd5:6465:7662::1"
MOST_PORTS = 1023  # of a Linux bridge
_MTU = 65520  # nothing here is a wire; pasta's interface has the same
_FIRST = 2
_LAST = 65533


def host_has_ipv6() -> bool:
    """Whether the host has an IPv6 address of more than link scope (then containers get ULAs)."""
    try:
        with open("/proc/net/if_inet6", encoding="utf-8") as source:
            return any(line.split()[3] == "00" for line in source)
    except FileNotFoundError:
        return False


def free_subnet() -> str:
    """The first two numbers of a /16 that this host has no route to, so that containers can reach what it reaches."""
    with open("/proc/net/route", encoding="utf-8") as source:
        return choose_subnet(source.read())


def choose_subnet(routes: str) -> str:
    """The first subnet that no route of /proc/net/route lies in or over; the first of all where none is free. Pure."""
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


def gateway(node: NetNode) -> str:
    """The bridge's own address in the subnet of this container. Pure."""
    return gateway_of(subnet_of(node))


def subnet_of(node: NetNode) -> str:
    """The first two numbers of a container's address. Pure."""
    return ".".join(node.address.split(".")[:2])


def gateway_of(subnet: str) -> str:
    """The bridge's own address in a subnet. Pure."""
    return f"{subnet}.0.1"


def node(index: int, *, ipv6: bool, subnet: str = SUBNET) -> NetNode:
    """The address of the container with this index (0, 1, …) in its instance. Pure."""
    number = index + _FIRST
    if not _FIRST <= number <= _LAST:
        raise EngineError(
            f"the instance network has no room for container {index}", remedy="devbox down, then devbox up"
        )
    return NetNode(f"{subnet}.{number >> 8}.{number & 255}", f"fdd5:6465:7662::{number:x}" if ipv6 else "")


def make_bridge(holder: ProcessRef, *, ipv6: bool, subnet: str = SUBNET) -> None:
    """Make the bridge with the gateway's addresses, bring up loopback, allow forwarding. Once per instance."""

    def build() -> None:
        link = Netlink()
        link.bring_up("lo")
        # Of its own, so that it stays: containers would go on for seconds to send to the old one, where nobody hears.
        link.add_bridge(BRIDGE, mtu=_MTU, mac=mac(NetNode(gateway_of(subnet), "")))
        _take_no_advice(BRIDGE)
        bridge = _socket.if_nametoindex(BRIDGE)
        link.add_address(bridge, gateway_of(subnet), PREFIX)
        _set("ipv4/ip_forward", "1")
        _set("ipv4/conf/all/route_localnet", "1")  # a port published on the host's loopback arrives from 127.0.0.1
        if ipv6:
            link.add_address(bridge, GATEWAY6, PREFIX6)
            _set("ipv6/conf/all/forwarding", "1")

    namespaces.run_inside(holder, build)


class Plug(NamedTuple):
    """A child that holds a container's new network namespace until it is pinned."""

    child: forks.Child
    ready: int
    release: int


def start_plug(context: Context, node: NetNode | None) -> Plug:
    """Begin to make a container's network namespace, connected to the bridge as `node` (None: loopback only).

    It belongs to the holder's user namespace: else binding port 80 and ping would be denied in the container.
    """
    ready, release = os.pipe(), os.pipe()

    def plug() -> None:
        os.close(release[1])
        if not context.idmap.rootless:  # a rootless launch has joined it before
            namespaces.join(context.holder, network=False)
        plug_in(context.holder, node)
        os.write(ready[1], b"1")
        os.read(release[0], 1)

    child = forks.fork(plug)
    os.close(ready[1])
    os.close(release[0])
    return Plug(child, ready[0], release[1])


def pin(plug: Plug, path: str) -> None:
    """Wait for the namespace and bind it on the file `path`, in this process's mount namespace."""
    if os.read(plug.ready, 1):
        pin_existing(f"/proc/{plug.child.pid}/ns/net", path)
    os.close(plug.ready)
    os.close(plug.release)
    forks.wait(plug.child)


def pin_existing(netns: str, path: str) -> None:
    """Bind a network namespace on the file `path`, in this process's mount namespace."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    syscalls.mount(netns, path, flags=syscalls.MS_BIND)


def plug_in(holder: ProcessRef, node: NetNode | None) -> None:
    """Make this process's network namespace a new one, with a cable to the bridge."""
    if node is None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        _open_up(Netlink())
        return
    namespaces.join(holder, user=False)
    outside = Netlink()
    bridge = _socket.if_nametoindex(BRIDGE)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    port = port_name(node)
    outside.delete(port)  # of a dead predecessor, whose namespace the kernel has not cleaned up yet
    try:
        outside.add_veth(port, bridge=bridge, mtu=_MTU, peer=INTERFACE, peer_mac=mac(node), peer_netns=own)
    except OSError as error:
        if error.errno != errno.EXFULL:
            raise
        raise EngineError(
            f"the instance network is full: it takes at most {MOST_PORTS} containers", remedy="devbox stop some of them"
        ) from None
    inside = Netlink()
    _open_up(inside)
    _take_no_advice(INTERFACE)
    inside.bring_up(INTERFACE)
    interface = _socket.if_nametoindex(INTERFACE)
    inside.add_address(interface, node.address, PREFIX)
    inside.add_default_route(interface, gateway(node))
    if node.address6:
        inside.add_address(interface, node.address6, PREFIX6)
        inside.add_default_route(interface, GATEWAY6)


def _open_up(link: Netlink) -> None:
    """Loopback, and what Docker's containers may do as well: bind low ports as any user, ping without a raw socket."""
    link.bring_up("lo")
    _set("ipv4/ip_unprivileged_port_start", "0")
    _set("ipv4/ping_group_range", "0 65535")


def _take_no_advice(interface: str) -> None:
    """Believe no router's advertisement: another container would send it."""
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        _set(f"ipv6/conf/{interface}/accept_ra", "0")


def port_name(node: NetNode) -> str:
    """The name of a container's port of the bridge: unique, since the address is (names end at 15 characters)."""
    high, low = node.address.split(".")[2:]
    return f"port{high}.{low}"


def mac(node: NetNode) -> bytes:
    """A container's hardware address: the same after a restart, so that no neighbour waits for its cache to expire."""
    return b"\x02\xdb" + _socket.inet_aton(node.address)


def _set(name: str, value: str) -> None:
    """Set a sysctl of this process's network namespace."""
    with open(f"/proc/sys/net/{name}", "w", encoding="utf-8") as target:
        target.write(value)
