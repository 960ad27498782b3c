"""Selection of the engine. An engine is one file and one line of `ENGINES`."""

from __future__ import annotations

import importlib

from devbox.engines.engine import Engine
from devbox.errors import UsageError
from devbox.host import environ
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore

# Name → "module:class". A class is created from the paths, and a function that returns an image's unpacked layers.
ENGINES = {
    "native": "devbox.engines.native.engine:NativeEngine",
}


def select_engine(paths: Paths) -> Engine:
    """Return the engine that DEVBOX_ENGINE names (default: native). Raises UsageError if it is unknown."""
    name = environ.get_engine_name()
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise UsageError(
            f'invalid value for DEVBOX_ENGINE: expected one of {known}, got "{name}"',
            remedy="use the native engine: unset DEVBOX_ENGINE",
        )
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)(paths, ImageStore(paths).list_lowers)
    return engine
