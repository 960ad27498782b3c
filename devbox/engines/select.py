"""Selection of the engine."""

from __future__ import annotations

from devbox.engines.engine import Engine
from devbox.engines.native.engine import NativeEngine
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore


def select_engine(paths: Paths) -> Engine:
    """Return this user's engine on this host: the native one."""
    return NativeEngine(paths, ImageStore(paths).list_lowers)
