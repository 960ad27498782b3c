"""Egress lists: the host names that a container may reach, and the nft rules that enforce them. Pure.

The container's own `dns_proxy` answers for listed names and first adds the returned addresses to the container's nft
sets. Addresses in no set are rejected, including addresses that a program obtains elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devbox.isolation.network import bridge, egress
from devbox.isolation.types import NetNode

TABLE = "devbox_names"
EVERY_PORT = 0
_RESERVED = ("127.", "169.254.", "0.", "::", "fe80:")  # local to the namespace, never a server's address
_SHORTEST, _LONGEST = 600, 86400  # bounds in seconds for the admission of an address, whatever its TTL


class EgressPolicy(NamedTuple):
    """A container, its egress list, and the gateway port of its DNS proxy."""

    node: NetNode
    entries: tuple[str, ...]
    port: int


def find_allowed_ports(entries: Iterable[str], name: str) -> frozenset[int]:
    """Return the ports at which the list allows this name; empty if the name is not listed."""
    found = set()
    for entry in entries:
        pattern, _, port = entry.partition(":")
        if name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])):
            found.add(int(port or EVERY_PORT))
    return frozenset(found)


def list_set_names(node: NetNode) -> tuple[str, ...]:
    """Return the names of a container's sets: addresses at every port, then at one port; IPv4 and IPv6 each."""
    high, low = node.address.split(".")[2:]
    return tuple(f"{kind}{family}_{high}_{low}" for kind in ("any", "port") for family in (4, 6))


def build_admission(node: NetNode, found: Sequence[tuple[str, int]], allowed: frozenset[int]) -> str:
    """Build the nft commands that admit addresses for the duration of their TTL; "" if none.

    An existing element is replaced: adding it again would not extend its timeout.
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
    """Build both tables of the instance's namespace such that the sets of remaining containers keep their elements.

    The bridge table restricts a container to its own addresses: the inet table matches addresses, which can be forged.
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
    # Deleting requires existence: a recreated table no longer has the sets.
    return lines if verb == "add" else [*_build_sets("add", node), *lines]


def _build_dns_rules(each: EgressPolicy) -> list[str]:
    here = f"add rule inet {TABLE} asking ip saddr {each.node.address} ip daddr {egress.RESOLVER}"
    translation = f"dnat ip to {bridge.get_gateway(each.node)}:{each.port}"
    return [f"{here} {protocol} dport 53 {translation}" for protocol in ("udp", "tcp")]


def _build_egress_rules(each: EgressPolicy) -> list[str]:
    """Accept established connections that this list admitted, or that arrived by a published port.

    Others were opened before the list, or by the previous owner of the address, and would bypass it.
    """
    node, mark = each.node, _compute_mark(each.entries)
    any4, any6, port4, port6 = list_set_names(node)
    lines = []
    families = [("ip", node.address, any4, port4), ("ip6", node.address6, any6, port6)]
    for family, address, everywhere, at_port in families:
        if address:
            own = f'add rule inet {TABLE} leaving oifname "{egress.UPLINK}" {family} saddr {address}'
            lines += [
                f"{own} ct state established,related ct direction reply accept",
                f"{own} ct state established,related ct mark {mark} accept",
                f"{own} {family} daddr @{everywhere} ct mark set {mark} accept",
                f"{own} meta l4proto {{ tcp, udp }} {family} daddr . th dport @{at_port} ct mark set {mark} accept",
                f"{own} reject with icmpx admin-prohibited",
            ]
    return lines


def _compute_mark(entries: tuple[str, ...]) -> int:
    """Return the mark of connections that a list admitted; never 0, the mark of all others."""
    return zlib.crc32("\n".join(entries).encode()) | 1


def _build_source_rules(node: NetNode) -> list[str]:
    own = f'add rule bridge {TABLE} sending iifname "{bridge.get_port_name(node)}"'
    six = ", ".join(filter(None, (node.address6, "fe80::/10", "::")))
    return [
        f"{own} ether saddr != {bridge.get_mac(node).hex(':')} drop",
        f"{own} ether type ip ip saddr {node.address} accept",
        f"{own} ether type arp arp saddr ip {node.address} accept",
        f"{own} ether type ip6 ip6 saddr {{ {six} }} accept",
        f"{own} drop",
    ]
