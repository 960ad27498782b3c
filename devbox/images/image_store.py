"""The image store of a `DEVBOX_HOME`: what flow and engines ask. Looking is light; baking loads what it needs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator

from devbox.errors import UsageError
from devbox.host import environ, files
from devbox.host.disk import format_size, measure_tree
from devbox.host.paths import Paths
from devbox.images.store import lock, snapshots
from devbox.images.store.step_cache import StepCache
from devbox.model import ids
from devbox.model.image import (
    BakedImage,
    KeyedImage,
    KeyedStep,
    build_keyed_image,
    build_keyed_step,
    has_unknown_versions,
    pin_step,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.images.bake.output import Lender
    from devbox.images.baker import OnEvent
    from devbox.images.build.outputs import BuildOutputs


class ImageStore:
    """Finds and bakes images. Methods may be called from several threads and processes at once."""

    def __init__(self, paths: Paths, *, project: str = "") -> None:
        """Bakes are those of `project`, an id: their commands use its caches."""
        self._paths = paths
        self._project = project
        self._cache = StepCache(paths)
        self._expecting = False

    def find(self, key: str) -> BakedImage | None:
        """The image with this key, when every layer of it is there, ready to run."""
        return self._cache.find_image(key)

    def list_evidence(self, key: str) -> tuple[str, ...]:
        """The paths that tell that the image with this key is there; none where it is not."""
        return self._cache.list_evidence(key)

    def load_by_digest(self, digest: str) -> BakedImage:
        """The image of an index's digest, wherever it came from, ready to run: unpacked where it was not yet.

        The documents behind the digest are hashed anew. RegistryError where the store does not have all of it.
        """
        from devbox.images import reachable
        from devbox.images.bake.pulled import Puller
        from devbox.images.store.layout import Layout

        oci = Layout(self._paths.oci, lock=self._paths.lock("oci-index"))
        key, layers = ids.compute_key({"digest": digest}), reachable.read_layers(oci, digest)
        known = self.find(key)
        if known is not None and known.layers == layers:
            return known
        made = Puller(self._paths).prepare(reachable.verify_descriptor(oci, digest), key)
        self._cache.record_image(made)
        return made

    def find_cached_steps(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of the step keys that would not have to be made."""
        return frozenset(
            key for key in keys if self._cache.find_layer(key) or self._cache.find_versions(key) is not None
        )

    @property
    def outputs(self) -> BuildOutputs:
        """What builds put out."""
        from devbox.images.build.outputs import BuildOutputs

        return BuildOutputs(self._paths)

    @contextlib.contextmanager
    def extract(self, baked: BakedImage, paths: tuple[str, ...]) -> Iterator[str]:
        """A directory with copies of files and directories of an image, each called by its number in `paths`.

        They are the caller's own. BakeFailed where the image has no such thing.
        """
        from devbox.images.bake.pool import Workers

        with self.outputs.open_workdir(ids.compute_key([baked.digest, *paths])) as place:
            overlay, copies = f"{place}/overlay", f"{place}/files"
            os.mkdir(overlay)
            os.mkdir(copies)
            Workers(self._paths).extract(paths, lowers=self.list_lowers(baked), place=overlay, target=copies)
            yield copies

    def list_lowers(self, baked: BakedImage) -> tuple[str, ...]:
        """The overlay lowers of an image, topmost first."""
        return snapshots.list_lowers(self._paths, baked.layers)

    def bake(
        self,
        image: KeyedImage,
        on_event: OnEvent,
        *,
        renewed: set[str] | None = None,
        lender: Lender | None = None,
    ) -> BakedImage:
        """Make what is missing of the image. BakeFailed says which step could not be made, and why.

        The image that is baked is `fixed(image)`. With `renewed`, see `Baker`: its packages are asked for again. With
        a `lender`, a step that fails gets a shell.
        """
        from devbox.images.baker import Baker

        with lock.lock_shared(self._paths):
            baker = Baker(self._paths, self._cache, project=self._project, renewed=renewed, lender=lender)
            return baker.bake(image, on_event)

    def prestart_worker(self) -> None:
        """Begin a worker: something will likely have to be baked soon. `rest` ends it where nothing was."""
        from devbox.images.bake import pool

        self._expecting = True
        pool.prestart_worker(self._paths)

    def stop_idle_worker(self) -> None:
        """End the worker that was begun for nothing."""
        if self._expecting:
            from devbox.images.bake import pool

            pool.kill_prestarted()

    def pin(self, image: KeyedImage) -> KeyedImage:
        """The image with the versions of packages that its steps took when they were made, as far as they are."""
        chain: list[KeyedStep] = []
        for wanted in image.chain:
            parent = chain[-1].key if chain else ""
            step = build_keyed_step(parent, wanted.step)
            versions = self._cache.find_versions(step.key) if has_unknown_versions(step.step) else None
            chain.append(step if versions is None else build_keyed_step(parent, pin_step(step.step, versions)))
        return build_keyed_image(image.name, chain, image.config)

    def destroy(self) -> None:
        """Remove all images and downloads. Files of subordinate ids go by way of a worker, which may."""
        from devbox.images.bake.pool import Workers

        places = (
            self._paths.oci,
            self._paths.snapshots,
            self._paths.steps,
            self._paths.tmp,
            self._paths.partial_blobs,
            self._paths.buildah,
            f"{self._paths.home}/cache",
        )
        if any(os.path.lexists(place) for place in places):
            Workers(self._paths).remove(places)

    def sweep(self) -> None:
        """Remove what killed bakes left."""
        for directory in (self._paths.steps, self._paths.oci, f"{self._paths.oci}/blobs/sha256"):
            files.remove_unfinished(directory)
        if left := snapshots.list_abandoned(self._paths):
            from devbox.images.bake.pool import Workers

            Workers(self._paths).remove(tuple(left))


BUDGET_VARIABLE = "DEVBOX_IMAGE_BUDGET"
DEFAULT_BUDGET = "40GB"
_NEAR = 0.8  # of the budget
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def read_budget() -> int:
    """The budget in bytes; 0 for none. Raises UsageError for a setting that is no size."""
    text = environ.get(BUDGET_VARIABLE) or DEFAULT_BUDGET
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text)
    if parts is None:
        raise UsageError(
            f"{BUDGET_VARIABLE} is {text!r}, which is no size",
            remedy=f"export {BUDGET_VARIABLE}={DEFAULT_BUDGET}, or 0 for none",
        )
    return int(float(parts[1]) * _UNITS[parts[2]])


def check_budget(paths: Paths) -> str | None:
    """A sentence when the images come near their budget."""
    most = read_budget()
    size = _measure_usage(paths) if most else 0
    if not most or size < _NEAR * most:
        return None
    taken = f"images take {format_size(size)} of {format_size(most)} ({BUDGET_VARIABLE})"
    return f"{taken}: devbox image gc removes what no project needs"


def _measure_usage(paths: Paths) -> int:
    unpacked = sum(snapshots.measure_size(paths, diff_id) for diff_id in snapshots.list_snapshots(paths))
    return unpacked + sum(map(measure_tree, (paths.oci, paths.buildah)))
