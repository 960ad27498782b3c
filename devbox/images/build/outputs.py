"""Build outputs in the store: one layer per build, recorded by the build's key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO

from devbox.host import disk, files
from devbox.host.paths import Paths
from devbox.images.bake.jobs import LAYER_FILE, WORK
from devbox.images.bake.pool import Workers
from devbox.images.layers.unpack import SNAPSHOT
from devbox.images.store import layout, snapshots
from devbox.images.store.step_cache import StepCache
from devbox.model.image import Layer


class BuildOutputs:
    """Finds and stores the outputs of builds."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._cache = StepCache(paths)

    def find(self, key: str) -> Layer | None:
        """Return the output of a build; None if not stored."""
        return self._cache.find_layer(key)

    @contextlib.contextmanager
    def open_workdir(self, key: str) -> Iterator[str]:
        """Create and lock the work directory of one build; that of a killed build is swept."""
        with files.lock_file(snapshots.get_step_lock(self._paths, key)):
            workdir = snapshots.create_workdir(self._paths, key)
            try:
                yield workdir
            finally:
                try:
                    disk.remove(workdir)
                except OSError:  # files of subordinate ids: a worker may remove them
                    Workers(self._paths).remove((workdir,))

    @staticmethod
    def get_work_dir(place: str) -> str:
        """Return the work directory of the build's container."""
        return f"{place}/{WORK}"

    def store(self, key: str, place: str, output: tuple[str, ...]) -> Layer:
        """Move the output from the work directory into the store; raise BakeFailed if a part is missing."""
        done = Workers(self._paths).make_output(place, output)
        layer = Layer(digest=done.digest, diff_id=done.digest, size=done.size, media_type=layout.LAYER)
        oci = layout.Layout(self._paths.oci, lock=self._paths.lock("oci-index"))
        oci.create()
        snapshots.flush(place)
        oci.adopt(f"{place}/{LAYER_FILE}", layer.digest)
        snapshots.adopt(self._paths, f"{place}/{SNAPSHOT}", layer.diff_id)
        self._cache.record_layer(key, layer, {})
        return layer

    def get_log_path(self, key: str) -> str:
        """Return the path of a build's log."""
        return f"{self._paths.home}/logs/build/{key.removeprefix('sha256:')[:12]}.log"

    def create_log(self, key: str) -> IO[str]:
        """Open a new log for this attempt and prune the oldest other logs."""
        path = self.get_log_path(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        files.prune_oldest(os.path.dirname(path), _LOGS)
        return open(path, "w", encoding="utf-8", errors="replace")


_LOGS = 100
