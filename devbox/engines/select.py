"""Which engine runs the containers."""

from __future__ import annotations

from devbox.engines.contract import Engine
from devbox.engines.native import NativeEngine
from devbox.host.paths import Paths
from devbox.images.store import ImageStore


def select(paths: Paths) -> Engine:
    """The engine of this user on this machine: the embedded one."""
    return NativeEngine(paths, ImageStore(paths).lowers)
