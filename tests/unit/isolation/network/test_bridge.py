"""Real links, in a network namespace of the test's own."""

from __future__ import annotations

import os
import socket

import pytest

from devbox.errors import EngineError
from devbox.isolation import forks, syscalls
from devbox.isolation.network.bridge import Netlink


def _apart(work: object) -> None:
    """Run `work` as root of a new user and network namespace."""
    uid, gid = os.getuid(), os.getgid()

    def inside() -> None:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as target:
                target.write(text)
        work()  # type: ignore[operator]

    forks.run_in_child(inside)


def test_a_bridge_has_its_addresses_at_once():
    def work() -> None:
        link = Netlink()
        link.bring_up("lo")
        link.add_bridge("b0", mtu=9000)
        link.add_address(socket.if_nametoindex("b0"), "10.9.0.1", 16)
        link.add_address(socket.if_nametoindex("b0"), "fd00::1", 64)
        for family, address in ((socket.AF_INET, "10.9.0.1"), (socket.AF_INET6, "fd00::1")):
            with socket.socket(family) as server:
                server.bind((address, 0))  # refused for an address that is absent, or still being probed for

    _apart(work)


def test_a_bridge_keeps_its_hardware_address_whatever_ports_come_and_go():
    own = (
        b"\x02\xdb\xff\xff\xff\xff"  # higher than those of its ports: a bridge without one of its own takes the lowest
    )

    def address() -> str:
        with open("/sys/class/net/b0/address", encoding="ascii") as source:
            return source.read().strip()

    def work() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("sysfs", "/sys", "sysfs")  # of this network namespace
        link = Netlink()
        link.add_bridge("b0", mtu=1500, mac=own)
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        for number in range(3):
            link.add_veth(
                f"port{number}",
                bridge=socket.if_nametoindex("b0"),
                mtu=1500,
                peer=f"peer{number}",
                peer_mac=b"\x02\xdb\x00\x00\x00" + bytes([number]),
                peer_netns=here,
            )
            assert address() == own.hex(":")
        link.delete("port0")
        assert address() == own.hex(":")

    _apart(work)


def test_the_kernels_refusal_is_an_error_with_a_purpose():
    def work() -> None:
        link = Netlink()
        link.add_bridge("b0", mtu=1500)
        link.add_bridge("b0", mtu=1500)

    with pytest.raises(EngineError, match="add the bridge b0: File exists"):
        _apart(work)


def test_deleting_what_is_not_there_is_quiet():
    _apart(lambda: Netlink().delete("nothing"))
