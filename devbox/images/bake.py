"""Baking: an image's chain of steps becomes layers, snapshots, and one OCI image.

A step is made once per store: whoever finds its key missing takes the key's lock, and a second process waits and then
finds it done. A worker process prepares everything in a directory of its own; this module moves it into the store in an
order in which a kill at any moment leaves only what the next `sweep` removes: blob, snapshot, and last the record.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from devbox.host import files
from devbox.host.paths import Paths
from devbox.images import layout, manifest, snapshots
from devbox.images.layout import Layout
from devbox.images.stepcache import StepCache
from devbox.images.workers import Workers
from devbox.model.image import Baked, Bootstrap, KeyedImage, KeyedStep, Layer


@dataclass(frozen=True, kw_only=True)
class BakeEvent:
    """One step of one image. `text` is what happens just now; sizes in bytes; None where unknown.

    `state`: "cached" (nothing to do), "running" (begun), "progress", "done" or "failed".
    """

    image: str
    step: str
    state: str
    text: str = ""
    fraction: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    seconds: float = 0.0


OnEvent = Callable[[BakeEvent], None]


class Baker:
    """Bakes images into one store. Safe to use from several threads and processes at once."""

    def __init__(self, paths: Paths, *, oci: Layout, cache: StepCache, workers: Workers) -> None:
        self._paths = paths
        self._oci = oci
        self._cache = cache
        self._workers = workers

    def bake(self, image: KeyedImage, on_event: OnEvent) -> Baked:
        """Make what is missing of the image and enter it into the layout."""
        self._oci.create()
        layers: list[Layer] = []
        for step in image.chain:
            layers.append(self._step(image, step, layers, on_event))
        baked = self._assemble(image, layers)
        self._cache.keep_image(baked)
        return baked

    def cached(self, key: str) -> Layer | None:
        """The layer of a step, when the store still holds all of it."""
        layer = self._cache.layer(key)
        if layer is None or not os.path.exists(self._oci.blob(layer.digest)):
            return None
        return layer if os.path.isdir(snapshots.directory(self._paths, layer.diff_id)) else None

    def _step(self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent) -> Layer:
        """The layer of a step: found, or made under the lock of its key."""

        def tell(state: str, **facts: object) -> None:
            on_event(BakeEvent(image=image.name, step=step.describe, state=state, **facts))  # type: ignore[arg-type]

        if layer := self.cached(step.key):
            tell("cached")
            return layer
        lock = snapshots.step_lock(self._paths, step.key)
        tell("running")
        with files.locked(lock, wait=False) as mine:
            if mine:
                return self._make(image, step, below, tell)
        tell("progress", text=_waiting_for(files.lock_holder(lock)))
        with files.locked(lock):
            if layer := self.cached(step.key):
                tell("done")
                return layer
            return self._make(image, step, below, tell)

    def _make(self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], tell: Callable[..., None]) -> Layer:
        """Run the worker and move what it made into the store. The step's lock is held."""
        started = time.monotonic()
        place = snapshots.new_place(self._paths, step.key)
        base = image.chain[0].step
        try:
            result = self._workers.make(
                step,
                place=place,
                lowers=snapshots.lowers(self._paths, below),
                base=base if isinstance(base, Bootstrap) else None,
                on_progress=lambda p: tell(
                    "progress",
                    text=p.text,
                    fraction=p.fraction,
                    bytes_done=p.bytes_done,
                    bytes_total=p.bytes_total,
                ),
            )
            layer = Layer(digest=result.digest, diff_id=result.digest, size=result.size, media_type=layout.LAYER)
            self._commit(step.key, layer, place)
        except BaseException as error:
            tell("failed", text=str(error), seconds=time.monotonic() - started)
            raise
        finally:
            with suppress(OSError):  # what is not ours to remove (ids of a killed rootless worker) waits for `sweep`
                shutil.rmtree(place)
        tell("done", text=f"{layer.size / 1e6:.1f} MB", seconds=time.monotonic() - started)
        return layer

    def _commit(self, key: str, layer: Layer, place: str) -> None:
        snapshots.flush(place)
        self._oci.adopt(f"{place}/layer.tar", layer.digest)
        snapshots.adopt(self._paths, f"{place}/snapshot", layer.diff_id)
        self._cache.keep_layer(key, layer)

    def _assemble(self, image: KeyedImage, layers: Sequence[Layer]) -> Baked:
        """Write config, manifest and index, and name the index by the image and its key."""
        history = [f"devbox: {step.describe}" for step in image.chain]
        config = self._oci.write_json(layout.CONFIG, manifest.image_config(image.config, layers, history))
        platform = self._oci.write_json(layout.MANIFEST, manifest.image_manifest(config, layers))
        index = self._oci.write_json(layout.INDEX, manifest.image_index(platform))
        self._oci.set_ref(f"{image.name}-{image.key.removeprefix('sha256:')[:12]}", index)
        return Baked(
            key=image.key,
            digest=index.digest,
            manifest=platform.digest,
            config_digest=config.digest,
            layers=tuple(layers),
            config=image.config,
        )


def _waiting_for(holder: int | None) -> str:
    return "made for another image" if holder == os.getpid() else f"made by another devbox (process {holder})"
