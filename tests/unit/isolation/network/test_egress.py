"""Command lines and rules for pasta and nft."""

from __future__ import annotations

import socket

import pytest

from devbox.errors import EngineError, PortTaken
from devbox.isolation.network import bridge, egress
from devbox.isolation.types import HostPort, NetNode, PortRoute, PublishedPort

ROUTES = (
    PortRoute(
        PublishedPort(host=8000, address="127.0.0.1", container=80, protocol="tcp"), NetNode("10.213.0.2", "fd00::2")
    ),
    PortRoute(PublishedPort(host=8000, address="192.0.2.7", container=81, protocol="tcp"), NetNode("10.213.0.3", "")),
    PortRoute(PublishedPort(host=53, address="127.0.0.1", container=5353, protocol="udp"), NetNode("10.213.0.4", "")),
)


def test_every_route_has_a_port_of_the_namespace():
    """Two addresses may publish the same port for different containers."""
    assert egress.build_port_flags(ROUTES) == [
        *("-t", "127.0.0.1/8000:20000", "-t", "192.0.2.7/8000:20001"),
        *("-u", "127.0.0.1/53:20002"),
    ]


def test_nothing_published_is_said_so():
    assert egress.build_port_flags(()) == ["-t", "none", "-u", "none"]


def test_rules_lead_to_the_containers():
    rules = egress.build_nft_rules(ROUTES)

    assert "tcp dport 20000 dnat ip to 10.213.0.2:80" in rules
    assert "tcp dport 20000 dnat ip6 to [fd00::2]:80" in rules
    assert "udp dport 20002 dnat ip to 10.213.0.4:5353" in rules
    assert "[]:" not in rules


def test_a_port_of_the_host_is_there_for_whom_it_is_meant():
    first, second = NetNode("10.213.0.2", ""), NetNode("10.213.0.3", "")
    ports = (HostPort(3128, first), HostPort(3128, second), HostPort(81, second))

    led = egress.list_forwarded_ports(ports)

    assert egress.build_host_port_flags(led) == ["-T", "19000:81", "-T", "19001:3128"]
    assert egress.build_host_port_flags(()) == ["-T", "none"]
    rules = egress.build_nft_rules((), ports, led)
    assert "ip saddr 10.213.0.2 ip daddr 10.213.0.1 tcp dport 3128 dnat ip to 127.0.0.1:19001" in rules
    assert "ip saddr 10.213.0.3 ip daddr 10.213.0.1 tcp dport 81 dnat ip to 127.0.0.1:19000" in rules
    assert "10.213.0.2 ip daddr 10.213.0.1 tcp dport 81" not in rules


def test_an_address_that_reaches_the_host_is_used_by_its_container_alone():
    node = NetNode("10.213.0.2", "")
    rules = egress.build_bridge_rules((HostPort(3128, node), HostPort(81, node)))

    for forged in ("ether saddr 02:db:0a:d5:00:02", "ip saddr 10.213.0.2", "arp saddr ip 10.213.0.2"):
        assert rules.count(f'iifname != "port0.2" {forged} drop') == 1
    assert egress.build_bridge_rules(()) == "", "nothing is asked of a kernel that may not know it"


def test_a_port_keeps_its_lead_when_others_are_given_up():
    """pasta keeps its arguments, while nft drops the rules of removed containers."""
    rules = egress.build_nft_rules((), (HostPort(3128, NetNode("10.213.0.2", "")),), (81, 3128))

    assert "tcp dport 3128 dnat ip to 127.0.0.1:19001" in rules
    assert "dport 81" not in rules


def test_no_container_may_speak_to_the_namespaces_loopback():
    rules = egress.build_nft_rules(())

    assert 'iifname "devbox0" ip daddr 127.0.0.0/8 drop' in rules
    assert "hook prerouting priority raw" in rules


def test_segments_unknown_to_conntrack_are_dropped_in_both_directions():
    rules = egress.build_nft_rules(())

    assert 'iifname "uplink" ct state invalid drop' in rules
    assert 'oifname "uplink" ct state invalid drop' in rules


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_taken_port_is_named(protocol: str):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        publish = PublishedPort(host=port, address="127.0.0.1", container=1, protocol=protocol)

        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is already in use"):
            egress.require_free_port(publish)

    egress.require_free_port(publish)


def test_nodes_are_distinct_and_never_the_gateway():
    nodes = [bridge.make_node(index, ipv6=True) for index in range(600)]

    assert len({node.address for node in nodes} | {bridge.get_gateway(nodes[0])}) == 601
    assert len({node.address6 for node in nodes} | {bridge.GATEWAY6}) == 601
    assert bridge.make_node(0, ipv6=False).address6 == ""
    with pytest.raises(EngineError):
        bridge.make_node(70_000, ipv6=False)
