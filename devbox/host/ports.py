"""Whether a host port is free. Looked at by binding it for a moment."""

from __future__ import annotations

import socket


def is_free(address: str, port: int, protocol: str) -> bool:
    """Whether this process could listen on `address:port` now."""
    return refusal(address, port, protocol) is None


def refusal(address: str, port: int, protocol: str) -> OSError | None:
    """Why this process could not listen there; None when it could."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error
    return None
