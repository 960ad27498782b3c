"""What builds put out, in the store: one layer a build, recorded by the build's key. Nothing else of one is kept."""

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
from devbox.images.store.layout import Layout
from devbox.images.store.step_cache import StepCache
from devbox.model.image import Layer


class BuildOutputs:
    """Finds and keeps what builds put out."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._cache = StepCache(paths)

    def find(self, key: str) -> Layer | None:
        """The output of a build."""
        return self._cache.find_layer(key)

    @contextlib.contextmanager
    def open_workdir(self, key: str) -> Iterator[str]:
        """A directory for one build; while it is there nobody else makes the same. A killed build's is swept."""
        with files.lock_file(snapshots.get_step_lock(self._paths, key)):
            made = snapshots.create_workdir(self._paths, key)
            try:
                yield made
            finally:
                try:
                    disk.remove(made)
                except OSError:  # files of subordinate ids: a worker may
                    Workers(self._paths).remove((made,))

    @staticmethod
    def get_work_dir(place: str) -> str:
        """The directory that the build's container works in."""
        return f"{place}/{WORK}"

    def store(self, key: str, place: str, output: tuple[str, ...]) -> Layer:
        """Take the output out of the work, into the store. BakeFailed where a part of it is not there."""
        done = Workers(self._paths).make_output(place, output)
        layer = Layer(digest=done.digest, diff_id=done.digest, size=done.size, media_type=layout.LAYER)
        oci = Layout(self._paths.oci, lock=self._paths.lock("oci-index"))
        oci.create()
        snapshots.flush(place)
        oci.adopt(f"{place}/{LAYER_FILE}", layer.digest)
        snapshots.adopt(self._paths, f"{place}/{SNAPSHOT}", layer.diff_id)
        self._cache.record_layer(key, layer, {})
        return layer

    def get_log_path(self, key: str) -> str:
        """The path of a build's log."""
        return f"{self._paths.home}/logs/build/{key.removeprefix('sha256:')[:12]}.log"

    def create_log(self, key: str) -> IO[str]:
        """The log of this attempt, to be written; the oldest of others go."""
        path = self.get_log_path(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        files.prune_oldest(os.path.dirname(path), _LOGS)
        return open(path, "w", encoding="utf-8", errors="replace")


_LOGS = 100
