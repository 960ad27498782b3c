"""The image store of a `DEVBOX_HOME`: what flow and engines ask."""

from __future__ import annotations

import os
from collections.abc import Iterable

from devbox.host.paths import Paths
from devbox.images import snapshots
from devbox.images.bake import Baker, OnEvent
from devbox.images.layout import Layout
from devbox.images.stepcache import StepCache
from devbox.images.workers import Workers
from devbox.model.image import Baked, KeyedImage


class ImageStore:
    """Finds and bakes images. Methods may be called from several threads and processes at once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._cache = StepCache(paths.steps)
        self._workers = Workers(paths)
        oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        self._baker = Baker(paths, oci=oci, cache=self._cache, workers=self._workers)

    def find(self, key: str) -> Baked | None:
        """The image with this key, when every layer of it is there, ready to run."""
        baked = self._cache.image(key)
        if baked is None or not all(os.path.isdir(lower) for lower in self.lowers(baked)):
            return None
        return baked

    def cached_steps(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of the step keys that would not have to be made."""
        return frozenset(key for key in keys if self._baker.cached(key))

    def lowers(self, baked: Baked) -> tuple[str, ...]:
        """The overlay lowers of an image, topmost first."""
        return snapshots.lowers(self._paths, baked.layers)

    def bake(self, image: KeyedImage, on_event: OnEvent) -> Baked:
        """Make what is missing of the image. BakeFailed says which step could not be made, and why."""
        return self._baker.bake(image, on_event)

    def stop(self) -> None:
        """Kill every bake of this process, from any thread; their callers get Interrupted."""
        self._workers.stop()

    def sweep(self) -> None:
        """Remove what killed bakes left."""
        if left := snapshots.abandoned(self._paths):
            self._workers.remove(tuple(left))
