"""Whether a host port is free. Looked at by binding it for a moment."""

from __future__ import annotations

import socket


def is_free(address: str, port: int, protocol: str) -> bool:
    """Whether this process could listen on `address:port` now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
