"""The image store of a `DEVBOX_HOME`: what flow and engines ask. Looking is light; baking loads what it needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from devbox.host import files
from devbox.host.paths import Paths
from devbox.images import gate, snapshots
from devbox.images.stepcache import StepCache
from devbox.model import ids
from devbox.model.image import Baked, KeyedImage, KeyedStep, keyed_image, keyed_step, may_bring_more, pinned

if TYPE_CHECKING:
    from devbox.images.bake import OnEvent
    from devbox.images.build.outputs import Outputs
    from devbox.images.lending import Lender


class ImageStore:
    """Finds and bakes images. Methods may be called from several threads and processes at once."""

    def __init__(self, paths: Paths, *, project: str = "") -> None:
        """Bakes are those of `project`, an id: their commands use its caches."""
        self._paths = paths
        self._project = project
        self._cache = StepCache(paths)
        self._expecting = False

    def find(self, key: str) -> Baked | None:
        """The image with this key, when every layer of it is there, ready to run."""
        return self._cache.image(key)

    def evidence(self, key: str) -> tuple[str, ...]:
        """The paths that tell that the image with this key is there; none where it is not."""
        return self._cache.evidence(key)

    def by_digest(self, digest: str) -> Baked:
        """The image of an index's digest, wherever it came from, ready to run: unpacked where it was not yet.

        The documents behind the digest are hashed anew. RegistryError where the store does not have all of it.
        """
        from devbox.images import chain
        from devbox.images.layout import Layout
        from devbox.images.pulled import Puller

        oci = Layout(self._paths.oci, lock=self._paths.lock("oci-index"))
        key, layers = ids.key_of({"digest": digest}), chain.layers(oci, digest)
        known = self.find(key)
        if known is not None and known.layers == layers:
            return known
        made = Puller(self._paths).ready(chain.top(oci, digest), key)
        self._cache.keep_image(made)
        return made

    def cached_steps(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of the step keys that would not have to be made."""
        return frozenset(key for key in keys if self._cache.layer(key) or self._cache.versions(key) is not None)

    @property
    def outputs(self) -> Outputs:
        """What builds put out."""
        from devbox.images.build.outputs import Outputs

        return Outputs(self._paths)

    @contextlib.contextmanager
    def extracted(self, baked: Baked, paths: tuple[str, ...]) -> Iterator[str]:
        """A directory with copies of files and directories of an image, each called by its number in `paths`.

        They are the caller's own. BakeFailed where the image has no such thing.
        """
        from devbox.images.workers import Workers

        with self.outputs.place(ids.key_of([baked.digest, *paths])) as place:
            overlay, copies = f"{place}/overlay", f"{place}/files"
            os.mkdir(overlay)
            os.mkdir(copies)
            Workers(self._paths).extract(paths, lowers=self.lowers(baked), place=overlay, target=copies)
            yield copies

    def lowers(self, baked: Baked) -> tuple[str, ...]:
        """The overlay lowers of an image, topmost first."""
        return snapshots.lowers(self._paths, baked.layers)

    def bake(
        self,
        image: KeyedImage,
        on_event: OnEvent,
        *,
        renewed: set[str] | None = None,
        lender: Lender | None = None,
    ) -> Baked:
        """Make what is missing of the image. BakeFailed says which step could not be made, and why.

        The image that is baked is `fixed(image)`. With `renewed`, see `Baker`: its packages are asked for again. With
        a `lender`, a step that fails gets a shell.
        """
        from devbox.images.bake import Baker

        with gate.kept(self._paths):
            baker = Baker(self._paths, self._cache, project=self._project, renewed=renewed, lender=lender)
            return baker.bake(image, on_event)

    def expect_bake(self) -> None:
        """Begin a worker: something will likely have to be baked soon. `rest` ends it where nothing was."""
        from devbox.images import workerprocess

        self._expecting = True
        workerprocess.begin(self._paths)

    def rest(self) -> None:
        """End the worker that was begun for nothing."""
        if self._expecting:
            from devbox.images import workerprocess

            workerprocess.dismiss()

    def fixed(self, image: KeyedImage) -> KeyedImage:
        """The image with the versions of packages that its steps took when they were made, as far as they are."""
        chain: list[KeyedStep] = []
        for wanted in image.chain:
            parent = chain[-1].key if chain else ""
            step = keyed_step(parent, wanted.step)
            versions = self._cache.versions(step.key) if may_bring_more(step.step) else None
            chain.append(step if versions is None else keyed_step(parent, pinned(step.step, versions)))
        return keyed_image(image.name, chain, image.config)

    def destroy(self) -> None:
        """Remove all images and downloads. Files of subordinate ids go by way of a worker, which may."""
        from devbox.images.workers import Workers

        places = (
            self._paths.oci,
            self._paths.snapshots,
            self._paths.steps,
            self._paths.tmp,
            self._paths.partial,
            self._paths.buildah,
            f"{self._paths.home}/cache",
        )
        if any(os.path.lexists(place) for place in places):
            Workers(self._paths).remove(places)

    def sweep(self) -> None:
        """Remove what killed bakes left."""
        for directory in (self._paths.steps, self._paths.oci, f"{self._paths.oci}/blobs/sha256"):
            files.remove_unfinished(directory)
        if left := snapshots.abandoned(self._paths):
            from devbox.images.workers import Workers

            Workers(self._paths).remove(tuple(left))
