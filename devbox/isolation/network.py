"""The instance network: a bridge in the holder's network namespace, one veth pair per container."""

from __future__ import annotations

from devbox.isolation.types import NetNode, ProcessRef

GATEWAY = "10.213.0.1"


def host_has_ipv6() -> bool:
    """Whether the host has a global IPv6 address (then containers get ULAs)."""
    raise NotImplementedError


def node(index: int, *, ipv6: bool) -> NetNode:
    """The address of the container with this index (0, 1, …) in its instance. Pure."""
    raise NotImplementedError


def make_bridge(holder: ProcessRef, *, ipv6: bool) -> None:
    """Make the bridge with the gateway's addresses, bring up loopback, allow forwarding. Once per instance."""
    raise NotImplementedError
