"""Image builds: an image's chain of steps becomes layers, snapshots, and one OCI image.

A step is built once per store: the first process locks its key, others wait and then find the result. A worker process
builds in a directory of its own; this module moves the result into the store in the order blob, snapshot, record, so
that after a kill at any point the next `sweep` cleans up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from devbox.errors import BakeFailed
from devbox.host import disk, files
from devbox.host.paths import Paths
from devbox.images.bake.jobs import LAYER_FILE, BaseImage
from devbox.images.bake.messages import Progress
from devbox.images.bake.output import Lender
from devbox.images.bake.pool import Workers
from devbox.images.layers.unpack import SNAPSHOT
from devbox.images.store import layout, manifest, snapshots
from devbox.images.store.step_cache import StepCache
from devbox.model.frozen import dataclass
from devbox.model.image import (
    BakedImage,
    Bootstrap,
    Copy,
    FromDockerfile,
    FromRegistry,
    FromTarball,
    KeyedImage,
    KeyedStep,
    Layer,
    build_keyed_image,
    build_keyed_step,
    has_unknown_versions,
    is_unpinned,
    merge_config,
    pin_step,
)

if TYPE_CHECKING:
    from devbox.images.registry.blobs import Transfer


@dataclass(frozen=True, kw_only=True)
class BakeEvent:
    """Progress of one step of one image. `text` describes the current action; sizes in bytes; None if unknown.

    `state`: "cached" (nothing to do), "running" (started), "progress", "done" or "failed".
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
    """Builds images into one store. Safe for concurrent threads and processes."""

    def __init__(
        self,
        paths: Paths,
        cache: StepCache,
        *,
        project: str = "",
        renewed: set[str] | None = None,
        lender: Lender | None = None,
    ) -> None:
        """Build images whose commands use the caches of `project`.

        With `renewed`, unpinned steps are rebuilt, once each: it collects their keys. With a `lender`, a failed step
        gets a shell on its terminal.
        """
        self._paths = paths
        self._oci = layout.Layout(paths.oci, lock=paths.lock("oci-index"))
        self._cache = cache
        self._workers = Workers(paths, lender)
        self._lender = lender
        self._renewed = renewed
        self._project = project

    def bake(self, image: KeyedImage, on_event: OnEvent) -> BakedImage:
        """Build the missing steps of the image and add it to the layout.

        After an unpinned step, its installed packages become part of its key, and so of the keys of all later steps: a
        build by a lock of these versions has the same keys.
        """
        if any(isinstance(link.step, Copy) and not link.step.output for link in image.chain):
            sentence = f"missing or outdated output of [build], which the image {image.name} copies"
            raise BakeFailed(sentence, remedy="devbox build")
        self._oci.create()
        layers: list[Layer] = []
        chain: list[KeyedStep] = []
        below: BakedImage | None = None
        for desired in image.chain:
            step = build_keyed_step(chain[-1].key if chain else "", desired.step)
            if isinstance(step.step, FromRegistry):
                below = self._pull_base(image, step, step.step, on_event)
                layers += below.layers
                chain.append(self._pin_step(step, chain, below))
            elif isinstance(step.step, FromTarball):
                below = self._import_base(image, step, step.step, on_event)
                layers += below.layers
                chain.append(step)
            elif isinstance(step.step, FromDockerfile):
                below = self._build_base(image, step, step.step, BaseImage(tuple(layers), below), on_event)
                layers = list(below.layers)
                chain.append(self._pin_step(step, chain, below))
            else:
                env = below.config.env if below else {}
                layers.append(self._bake_step(image, step, layers, on_event, env))
                chain.append(self._pin_step(step, chain, layers[-1]))
        baked = self._assemble(build_keyed_image(image.name, chain, image.config), layers, below)
        self._cache.record_image(baked)
        return baked

    def _pin_step(self, step: KeyedStep, below: Sequence[KeyedStep], baked: Layer | BakedImage) -> KeyedStep:
        """Return the step pinned to its installed packages, and record its result under that key too."""
        versions = self._cache.find_versions(step.key) if has_unknown_versions(step.step) else None
        if versions is None:
            return step
        fixed = build_keyed_step(below[-1].key if below else "", pin_step(step.step, versions))
        if self._cache.find_versions(fixed.key) is None:
            if isinstance(baked, BakedImage):
                self._cache.record_pulled(replace(baked, key=fixed.key), versions)
            else:
                self._cache.record_layer(fixed.key, baked, versions)
            _link_log(self._paths.bake_log(step.key), self._paths.bake_log(fixed.key))
        return fixed

    def _pull_base(
        self, image: KeyedImage, step: KeyedStep, source_step: FromRegistry, on_event: OnEvent
    ) -> BakedImage:
        """Return the registry image at the start of the chain: cached, or pulled under the lock of the step's key."""
        from devbox.images.bake.pulled import Puller

        event = partial(BakeEvent, image=image.name, step=step.describe, state="progress")

        def pull() -> tuple[BakedImage, dict[str, str]]:
            def progress(update: Transfer) -> None:
                on_event(event(text=update.text, bytes_done=update.done, bytes_total=update.total))

            pulled = Puller(self._paths).pull(source_step, step.key, progress)
            return pulled, {source_step.reference: pulled.digest}

        return self._find_or_make_base(image, step, pull, on_event)

    def _import_base(
        self, image: KeyedImage, step: KeyedStep, source_step: FromTarball, on_event: OnEvent
    ) -> BakedImage:
        """Return the image of a project's tarball: cached, or imported under the lock of the step's key."""
        from devbox.images.archive.importer import Importer

        event = partial(BakeEvent, image=image.name, step=step.describe, state="progress")

        def take() -> tuple[BakedImage, dict[str, str]]:
            def progress(update: Transfer) -> None:
                on_event(event(text=update.text, bytes_done=update.done, bytes_total=update.total))

            return Importer(self._paths).import_tarball(
                source_step, step.key, _format_ref(image.name, step.key), progress
            ), {}

        return self._find_or_make_base(image, step, take, on_event)

    def _build_base(
        self, image: KeyedImage, step: KeyedStep, source_step: FromDockerfile, below: BaseImage, on_event: OnEvent
    ) -> BakedImage:
        """Return a Dockerfile's image, which replaces the layers below: cached, or built under the step's lock."""
        from devbox.images.dockerfile.build import DockerfileBuilder

        event = partial(BakeEvent, image=image.name, step=step.describe, state="progress")

        def build() -> tuple[BakedImage, dict[str, str]]:
            name = _format_ref(image.name, step.key)
            return DockerfileBuilder(self._paths, self._lender).build(
                source_step,
                step.key,
                name,
                below,
                lambda update: on_event(event(text=update.text, fraction=update.fraction)),
            )

        return self._find_or_make_base(image, step, build, on_event)

    def _find_or_make_base(
        self,
        image: KeyedImage,
        step: KeyedStep,
        make: Callable[[], tuple[BakedImage, dict[str, str]]],
        on_event: OnEvent,
    ) -> BakedImage:
        """Return the result of a step that is a whole image: cached, or made (with input digests) under its lock."""
        event = partial(BakeEvent, image=image.name, step=step.describe)
        with files.lock_file(snapshots.get_step_lock(self._paths, step.key)):
            renews = self._renewed is not None and is_unpinned(step.step) and step.key not in self._renewed
            if not renews and (found := self._cache.find_image(step.key)):
                on_event(event(state="cached"))
                return found
            baked, digests = make()
            self._cache.record_pulled(baked, digests)
            if self._renewed is not None:
                self._renewed.add(step.key)
        on_event(event(state="done"))
        return baked

    def _find_layer(self, step: KeyedStep) -> Layer | None:
        """Return the cached layer of a step; None if the step must be built."""
        if not is_unpinned(step.step):
            return self._cache.find_layer(step.key)
        if self._renewed is not None and step.key not in self._renewed and self._cache.find_versions(step.key) != {}:
            return None
        return self._cache.find_layer(step.key) if self._cache.find_versions(step.key) is not None else None

    def _bake_step(
        self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent, env: dict[str, str]
    ) -> Layer:
        """Return the layer of a step: cached, or built under the lock of its key. `env` is from the image below."""
        event = partial(BakeEvent, image=image.name, step=step.describe)
        if layer := self._find_layer(step):
            on_event(event(state="cached"))
            return layer
        lock = snapshots.get_step_lock(self._paths, step.key)
        on_event(event(state="running"))
        with files.lock_file(lock, wait=False) as acquired:
            if acquired:
                return self._find_or_make(image, step, below, on_event, env)
        on_event(event(state="progress", text=_describe_wait(files.read_lock_holder(lock))))
        with files.lock_file(lock):
            return self._find_or_make(image, step, below, on_event, env)

    def _find_or_make(
        self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent, env: dict[str, str]
    ) -> Layer:
        """Check the cache again, since another process may have built the step before this one got its lock."""
        if layer := self._find_layer(step):
            on_event(BakeEvent(image=image.name, step=step.describe, state="done"))
            return layer
        return self._make_timed(image, step, below, on_event, env)

    def _make_timed(
        self, image: KeyedImage, step: KeyedStep, below: Sequence[Layer], on_event: OnEvent, env: dict[str, str]
    ) -> Layer:
        """Build the step and report the result, with its lock held."""
        event = partial(BakeEvent, image=image.name, step=step.describe)
        started = time.monotonic()

        def progress(update: Progress) -> None:
            on_event(
                event(
                    state="progress",
                    text=update.text,
                    fraction=update.fraction,
                    bytes_done=update.bytes_done,
                    bytes_total=update.bytes_total,
                )
            )

        try:
            layer = self._make(image, step, below, progress, env)
        except BaseException as error:
            on_event(event(state="failed", text=str(error), seconds=time.monotonic() - started))
            raise
        on_event(event(state="done", text=f"{layer.size / 1e6:.1f} MB", seconds=time.monotonic() - started))
        return layer

    def _make(
        self,
        image: KeyedImage,
        step: KeyedStep,
        below: Sequence[Layer],
        on_progress: Callable[[Progress], None],
        env: dict[str, str],
    ) -> Layer:
        """Run the worker and move its result into the store."""
        base = None if any(isinstance(link.step, FromDockerfile) for link in image.chain) else image.chain[0].step
        place = snapshots.create_workdir(self._paths, step.key)
        try:
            baked = self._workers.make(
                step,
                place=place,
                lowers=snapshots.list_lowers(self._paths, below),
                base=base if isinstance(base, Bootstrap) else None,
                env=env,
                project=self._project,
                on_progress=on_progress,
            )
            layer = Layer(digest=baked.digest, diff_id=baked.digest, size=baked.size, media_type=layout.LAYER)
            self._commit(step.key, layer, place, baked.packages)
        finally:
            with suppress(OSError):  # files of subordinate ids (after a killed rootless worker) are left to `sweep`
                disk.remove(place)
        return layer

    def _commit(self, key: str, layer: Layer, place: str, versions: dict[str, str]) -> None:
        snapshots.flush(place)
        self._oci.adopt(f"{place}/{LAYER_FILE}", layer.digest)
        snapshots.adopt(self._paths, f"{place}/{SNAPSHOT}", layer.diff_id)
        self._cache.record_layer(key, layer, versions)
        if self._renewed is not None:
            self._renewed.add(key)

    def _assemble(self, image: KeyedImage, layers: Sequence[Layer], below: BakedImage | None) -> BakedImage:
        """Write config, manifest and index, and name the index by the image and its key.

        A registry or Dockerfile image without additions keeps its digest.
        """
        run, lower = image.config, len(below.layers) if below else 0
        if below:
            run = merge_config(image.config, below.config)
            if len(layers) == lower and run == below.config:
                return replace(below, key=image.key)
        added = image.chain[len(image.chain) - (len(layers) - lower) :]
        first = [f"devbox: {image.chain[-len(added) - 1].describe}"] * lower if below else []
        history = [*first, *(f"devbox: {step.describe}" for step in added)]
        document, name = manifest.build_image_config(run, layers, history), _format_ref(image.name, image.key)
        return manifest.write_image(self._oci, layers, document, name=name, key=image.key, run=run)


def _link_log(log: str, name: str) -> None:
    """Link a log under another name, replacing an existing one; errors are ignored, as logs are optional."""
    with suppress(OSError):
        os.link(log, f"{name}.new")
        os.replace(f"{name}.new", name)


def _format_ref(name: str, key: str) -> str:
    return f"{name}-{key.removeprefix('sha256:')[:12]}"


def _describe_wait(holder: int | None) -> str:
    return "being built for another image" if holder in (None, os.getpid()) else f"being built by process {holder}"
