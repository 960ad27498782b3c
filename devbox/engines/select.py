"""Which engine runs the containers."""

from __future__ import annotations

from devbox.engines.engine import Engine
from devbox.engines.native.engine import NativeEngine
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore


def select_engine(paths: Paths) -> Engine:
    """The engine of this user on this machine: the embedded one."""
    return NativeEngine(paths, ImageStore(paths).list_lowers)
