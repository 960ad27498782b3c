"""The instance's way out, and in through published ports: pasta attached to its network namespace, nft inside it."""

from __future__ import annotations

from devbox.isolation.types import Context, ProcessRef, Route

RESOLVER = "169.254.1.53"  # what containers ask; pasta forwards to the host's resolver


def start_egress(context: Context, routes: tuple[Route, ...]) -> ProcessRef:
    """Start pasta for the instance and lead each published port to its container.

    EngineError when a host port is taken ("port 8000 on 127.0.0.1 is taken"), HostError when the host lacks pasta, nft
    or /dev/net/tun. pasta becomes a child of this process (its subreaper) and dies with the network namespace.
    """
    raise NotImplementedError


def stop_egress(pasta: ProcessRef) -> None:
    """Stop pasta; returns when its ports are free again."""
    raise NotImplementedError
