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
from functools import partial

from devbox.host import files
from devbox.host.paths import Paths
from devbox.images import layout, manifest, snapshots
from devbox.images.job import LAYER_FILE, SNAPSHOT, Progress
from devbox.images.layout import Layout
from devbox.images.stepcache import StepCache
from devbox.images.workers import Workers
from devbox.model.image import (
    Baked,
    Bootstrap,
    KeyedImage,
    KeyedStep,
    Layer,
    is_open,
    keyed_image,
    keyed_step,
    pinned,
)


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

    def __init__(self, paths: Paths, cache: StepCache, *, renewed: set[str] | None = None) -> None:
        """With `renewed`, steps whose packages nothing fixes are made anew, each once: it collects their keys."""
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        self._cache = cache
        self._workers = Workers(paths)
        self._renewed = renewed

    def bake(self, image: KeyedImage, on_event: OnEvent) -> Baked:
        """Make what is missing of the image and enter it into the layout.

        A step whose packages nothing fixes is made first; what it installed belongs to its key from then on, and so
        to the keys of all above it: who bakes by a lock of these versions finds the same.
        """
        self._oci.create()
        layers: list[Layer] = []
        chain: list[KeyedStep] = []
        for wanted in image.chain:
            step = keyed_step(chain[-1].key if chain else "", wanted.step)
            layers.append(self._step(image, step, layers, on_event))
            chain.append(self._fixed(step, chain, layers[-1]))
        baked = self._assemble(keyed_image(image.name, chain, image.config), layers)
        self._cache.keep_image(baked)
        return baked

    def _fixed(self, step: KeyedStep, below: Sequence[KeyedStep], layer: Layer) -> KeyedStep:
        """The step by what it installed, known under the key of that, too."""
        versions = self._cache.versions(step.key) if is_open(step.step) else None
        if versions is None:
            return step
        fixed = keyed_step(below[-1].key if below else "", pinned(step.step, versions))
        if self._cache.versions(fixed.key) is None:
            self._cache.keep_layer(fixed.key, layer, versions)
        return fixed

    def _found(self, step: KeyedStep) -> Layer | None:
        """The layer of a step that does not have to be made."""
        if not is_open(step.step):
            return self._cache.layer(step.key)
        if self._renewed is not None and step.key not in self._renewed and self._cache.versions(step.key) != {}:
            return None
        return self._cache.layer(step.key) if self._cache.versions(step.key) is not None else None

    def _step(self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent) -> Layer:
        """The layer of a step: found, or made under the lock of its key."""
        event = partial(BakeEvent, image=image.name, step=step.describe)
        if layer := self._found(step):
            on_event(event(state="cached"))
            return layer
        lock = snapshots.step_lock(self._paths, step.key)
        on_event(event(state="running"))
        with files.locked(lock, wait=False) as mine:
            if mine:
                return self._found_or_made(image, step, below, on_event)
        on_event(event(state="progress", text=_waiting_for(files.lock_holder(lock))))
        with files.locked(lock):
            return self._found_or_made(image, step, below, on_event)

    def _found_or_made(self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent) -> Layer:
        """Look again: another process may have made the step before its lock was ours. Its lock is held."""
        if layer := self._found(step):
            on_event(BakeEvent(image=image.name, step=step.describe, state="done"))
            return layer
        return self._timed(image, step, below, on_event)

    def _timed(self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent) -> Layer:
        """Make the step, and tell how it went. Its lock is held."""
        event = partial(BakeEvent, image=image.name, step=step.describe)
        started = time.monotonic()

        def progress(told: Progress) -> None:
            on_event(
                event(
                    state="progress",
                    text=told.text,
                    fraction=told.fraction,
                    bytes_done=told.bytes_done,
                    bytes_total=told.bytes_total,
                )
            )

        try:
            layer = self._make(image, step, below, progress)
        except BaseException as error:
            on_event(event(state="failed", text=str(error), seconds=time.monotonic() - started))
            raise
        on_event(event(state="done", text=f"{layer.size / 1e6:.1f} MB", seconds=time.monotonic() - started))
        return layer

    def _make(
        self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_progress: Callable[[Progress], None]
    ) -> Layer:
        """Run the worker and move what it made into the store."""
        base = image.chain[0].step
        place = snapshots.new_place(self._paths, step.key)
        try:
            made = self._workers.make(
                step,
                place=place,
                lowers=snapshots.lowers(self._paths, below),
                base=base if isinstance(base, Bootstrap) else None,
                on_progress=on_progress,
            )
            layer = Layer(digest=made.digest, diff_id=made.digest, size=made.size, media_type=layout.LAYER)
            self._commit(step.key, layer, place, made.packages)
        finally:
            with suppress(OSError):  # what is not ours to remove (ids of a killed rootless worker) waits for `sweep`
                shutil.rmtree(place)
        return layer

    def _commit(self, key: str, layer: Layer, place: str, versions: dict[str, str]) -> None:
        snapshots.flush(place)
        self._oci.adopt(f"{place}/{LAYER_FILE}", layer.digest)
        snapshots.adopt(self._paths, f"{place}/{SNAPSHOT}", layer.diff_id)
        self._cache.keep_layer(key, layer, versions)
        if self._renewed is not None:
            self._renewed.add(key)

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
    return "being made for another image" if holder in (None, os.getpid()) else f"being made by process {holder}"
