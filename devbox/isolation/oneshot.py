"""A one-shot container: on the caller's own streams, a guest in the instance's network, gone when it ends."""

from __future__ import annotations

from devbox.host.paths import Paths
from devbox.isolation import attached, passing
from devbox.isolation.client import Client
from devbox.isolation.types import Context, Launch, NetNode, unpack


def run(paths: Paths, instance: str, container: Launch, *, connected: bool) -> int:
    """Run it to its end; its exit code. The instance's supervisor must be there: it cleans up, even after a kill -9."""
    supervisor = Client(paths.socket(instance))
    answer = supervisor.call("lease", name=container.name, oci_id=container.oci_id, top=container.top)
    node = unpack(NetNode, answer["node"]) if connected else None
    signals = passing.PassedOn()
    try:
        return attached.run_attached(
            unpack(Context, answer["context"]), container._replace(network=node), on_start=signals.to
        )
    finally:
        signals.end()
        supervisor.call("release", name=container.name)
        supervisor.close()
