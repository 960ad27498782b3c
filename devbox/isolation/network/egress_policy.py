"""Egress lists: which host names a container may reach, and what nft is told to hold it to them. Pure.

A name on the list is answered by the container's own `answerer`, which first adds the addresses it hands out to the
container's sets in nft. Whatever is in no set is rejected: a program that brings an address of its own gets nowhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devbox.isolation.network import bridge, egress
from devbox.isolation.types import NetNode

TABLE = "devbox_names"
EVERY_PORT = 0
_RESERVED = ("127.", "169.254.", "0.", "::", "fe80:")  # the namespace's own, never somebody's server
_SHORTEST, _LONGEST = 600, 86400  # seconds a handed out address is let through, whatever its record says


class EgressPolicy(NamedTuple):
    """A container, its list, and the port of the gateway at which its names are answered."""

    node: NetNode
    entries: tuple[str, ...]
    port: int


def find_allowed_ports(entries: Iterable[str], name: str) -> frozenset[int]:
    """The ports at which the list lets a container reach this name; none: it is not on the list."""
    found = set()
    for entry in entries:
        pattern, _, port = entry.partition(":")
        if name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])):
            found.add(int(port or EVERY_PORT))
    return frozenset(found)


def list_set_names(node: NetNode) -> tuple[str, ...]:
    """The names of a container's sets: addresses at every port, addresses at one; for IPv4 and IPv6."""
    high, low = node.address.split(".")[2:]
    return tuple(f"{kind}{family}_{high}_{low}" for kind in ("any", "port") for family in (4, 6))


def build_admission(node: NetNode, found: Sequence[tuple[str, int]], allowed: frozenset[int]) -> str:
    """What lets a container reach addresses, each for as long as its record says; "" when there is nothing to say.

    An element that is there is replaced: adding it again would not make it last longer.
    """
    any4, any6, port4, port6 = list_set_names(node)
    lines = []
    for address, ttl in found:
        if address.startswith(_RESERVED):
            continue
        seconds = min(max(ttl, _SHORTEST), _LONGEST)
        for port in allowed:
            if port == EVERY_PORT:
                target, element = (any6 if ":" in address else any4), address
            else:
                target, element = (port6 if ":" in address else port4), f"{address} . {port}"
            place = f"inet {TABLE} {target}"
            lines.append(f"add element {place} {{ {element} }}")
            lines.append(f"delete element {place} {{ {element} }}")
            lines.append(f"add element {place} {{ {element} timeout {seconds}s }}")
    return "\n".join(lines)


def build_rules(answerers: Iterable[EgressPolicy], gone: Iterable[NetNode]) -> str:
    """Both tables of the instance's namespace, said so that the sets of those who stay keep what is in them.

    The bridge's table holds a container to its own addresses: the other goes by them, and a container can forge.
    """
    answerers = tuple(answerers)
    lines = [
        f"add table inet {TABLE}",
        f"add chain inet {TABLE} asking {{ type nat hook prerouting priority dstnat - 1; }}",
        f"add chain inet {TABLE} leaving {{ type filter hook forward priority filter; }}",
        f"flush chain inet {TABLE} asking",
        f"flush chain inet {TABLE} leaving",
        f"add table bridge {TABLE}",
        f"add chain bridge {TABLE} sending {{ type filter hook prerouting priority -300; }}",
        f"flush chain bridge {TABLE} sending",
    ]
    lines += [line for node in gone for line in _build_sets("delete", node)]
    for each in answerers:
        lines += [
            *_build_sets("add", each.node),
            *_build_dns_rules(each),
            *_build_egress_rules(each),
            *_build_source_rules(each.node),
        ]
    return "\n".join(lines) + "\n"


def _build_sets(verb: str, node: NetNode) -> list[str]:
    kinds = ("ipv4_addr", "ipv6_addr", "ipv4_addr . inet_service", "ipv6_addr . inet_service")
    what = [f" {{ type {kind}; flags timeout; }}" for kind in kinds] if verb == "add" else [""] * len(kinds)
    lines = [f"{verb} set inet {TABLE} {name}{body}" for name, body in zip(list_set_names(node), what, strict=True)]
    # Nobody deletes what is not there: a table that was made anew has forgotten who is gone.
    return lines if verb == "add" else [*_build_sets("add", node), *lines]


def _build_dns_rules(each: EgressPolicy) -> list[str]:
    here = f"add rule inet {TABLE} asking ip saddr {each.node.address} ip daddr {egress.RESOLVER}"
    there = f"dnat ip to {bridge.get_gateway(each.node)}:{each.port}"
    return [f"{here} {protocol} dport 53 {there}" for protocol in ("udp", "tcp")]


def _build_egress_rules(each: EgressPolicy) -> list[str]:
    """A connection that stands goes on where this very list let it begin, or where it came in by a published port.

    Others were opened before the list, or by who had the address before, and would be ways round it.
    """
    node, mark = each.node, _compute_mark(each.entries)
    any4, any6, port4, port6 = list_set_names(node)
    lines = []
    families = [("ip", node.address, any4, port4), ("ip6", node.address6, any6, port6)]
    for family, address, everywhere, at_port in families:
        if address:
            mine = f'add rule inet {TABLE} leaving oifname "{egress.UPLINK}" {family} saddr {address}'
            lines += [
                f"{mine} ct state established,related ct direction reply accept",
                f"{mine} ct state established,related ct mark {mark} accept",
                f"{mine} {family} daddr @{everywhere} ct mark set {mark} accept",
                f"{mine} meta l4proto {{ tcp, udp }} {family} daddr . th dport @{at_port} ct mark set {mark} accept",
                f"{mine} reject with icmpx admin-prohibited",
            ]
    return lines


def _compute_mark(entries: tuple[str, ...]) -> int:
    """What connections are marked with that a list let begin; never 0, which all others have."""
    return zlib.crc32("\n".join(entries).encode()) | 1


def _build_source_rules(node: NetNode) -> list[str]:
    mine = f'add rule bridge {TABLE} sending iifname "{bridge.get_port_name(node)}"'
    six = ", ".join(filter(None, (node.address6, "fe80::/10", "::")))
    return [
        f"{mine} ether saddr != {bridge.get_mac(node).hex(':')} drop",
        f"{mine} ether type ip ip saddr {node.address} accept",
        f"{mine} ether type arp arp saddr ip {node.address} accept",
        f"{mine} ether type ip6 ip6 saddr {{ {six} }} accept",
        f"{mine} drop",
    ]
