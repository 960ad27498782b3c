"""The image store of a `DEVBOX_HOME`, for flow and engines. Lookups are light: builds import their code late."""

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
    """Finds and builds images. Safe for concurrent threads and processes."""

    def __init__(self, paths: Paths, *, project: str = "") -> None:
        """Open the store; builds use the caches of `project`, an id."""
        self._paths = paths
        self._project = project
        self._cache = StepCache(paths)
        self._expecting = False

    def find(self, key: str) -> BakedImage | None:
        """Return the image with this key if all its layers are available; None otherwise."""
        return self._cache.find_image(key)

    def list_evidence(self, key: str) -> tuple[str, ...]:
        """Return the paths that prove the availability of the image with this key; empty if unavailable."""
        return self._cache.list_evidence(key)

    def load_by_digest(self, digest: str) -> BakedImage:
        """Return the image of an index digest, unpacking it if necessary.

        The manifests are hashed again. Raises RegistryError if the store does not have the complete image.
        """
        from devbox.images import reachable
        from devbox.images.bake.pulled import Puller
        from devbox.images.store.layout import Layout

        oci = Layout(self._paths.oci, lock=self._paths.lock("oci-index"))
        key, layers = ids.compute_key({"digest": digest}), reachable.read_layers(oci, digest)
        known = self.find(key)
        if known is not None and known.layers == layers:
            return known
        prepared = Puller(self._paths).prepare(reachable.verify_descriptor(oci, digest), key)
        self._cache.record_image(prepared)
        return prepared

    def find_cached_steps(self, keys: Iterable[str]) -> frozenset[str]:
        """Return the step keys whose results are cached."""
        return frozenset(
            key for key in keys if self._cache.find_layer(key) or self._cache.find_versions(key) is not None
        )

    @property
    def outputs(self) -> BuildOutputs:
        """The outputs of builds."""
        from devbox.images.build.outputs import BuildOutputs

        return BuildOutputs(self._paths)

    @contextlib.contextmanager
    def extract(self, baked: BakedImage, paths: tuple[str, ...]) -> Iterator[str]:
        """Yield a directory with copies of an image's files and directories, named by their index in `paths`.

        They are owned by the caller. Raises BakeFailed if a path is missing.
        """
        from devbox.images.bake.pool import Workers

        with self.outputs.open_workdir(ids.compute_key([baked.digest, *paths])) as place:
            overlay, copies = f"{place}/overlay", f"{place}/files"
            os.mkdir(overlay)
            os.mkdir(copies)
            Workers(self._paths).extract(paths, lowers=self.list_lowers(baked), place=overlay, target=copies)
            yield copies

    def list_lowers(self, baked: BakedImage) -> tuple[str, ...]:
        """Return the overlay lowerdirs of an image, topmost first."""
        return snapshots.list_lowers(self._paths, baked.layers)

    def bake(
        self, image: KeyedImage, on_event: OnEvent, *, renewed: set[str] | None = None, lender: Lender | None = None
    ) -> BakedImage:
        """Build the missing steps of the image. Raises BakeFailed with the failed step and its cause.

        The built image is `pin(image)`. With `renewed`, see `Baker`: its packages are resolved again. With a `lender`,
        a failed step gets a shell.
        """
        from devbox.images.baker import Baker

        with lock.lock_shared(self._paths):
            baker = Baker(self._paths, self._cache, project=self._project, renewed=renewed, lender=lender)
            return baker.bake(image, on_event)

    def prestart_worker(self) -> None:
        """Start a worker ahead of a likely build; `stop_idle_worker` ends it if unused."""
        from devbox.images.bake import pool

        self._expecting = True
        pool.prestart_worker(self._paths)

    def stop_idle_worker(self) -> None:
        """Kill an unused prestarted worker."""
        if self._expecting:
            from devbox.images.bake import pool

            pool.kill_prestarted()

    def pin(self, image: KeyedImage) -> KeyedImage:
        """Return the image pinned to the package versions of its built steps."""
        chain: list[KeyedStep] = []
        for desired in image.chain:
            parent = chain[-1].key if chain else ""
            step = build_keyed_step(parent, desired.step)
            versions = self._cache.find_versions(step.key) if has_unknown_versions(step.step) else None
            chain.append(step if versions is None else build_keyed_step(parent, pin_step(step.step, versions)))
        return build_keyed_image(image.name, chain, image.config)

    def destroy(self) -> None:
        """Remove all images and downloads; a worker removes files of subordinate ids."""
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
        """Remove the leftovers of killed builds."""
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
    """Return the budget in bytes; 0 for none. Raises UsageError for an invalid size."""
    text = environ.get(BUDGET_VARIABLE) or DEFAULT_BUDGET
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text)
    if parts is None:
        raise UsageError(
            f'invalid value for {BUDGET_VARIABLE}: expected a size such as {DEFAULT_BUDGET}, got "{text}"',
            remedy=f"export {BUDGET_VARIABLE}={DEFAULT_BUDGET}, or 0 for no limit",
        )
    return int(float(parts[1]) * _UNITS[parts[2]])


def check_budget(paths: Paths) -> str | None:
    """Return a warning if the images approach their budget, else None."""
    most = read_budget()
    size = _measure_usage(paths) if most else 0
    if not most or size < _NEAR * most:
        return None
    taken = f"images take {format_size(size)} of {format_size(most)} ({BUDGET_VARIABLE})"
    return f"{taken}: remove unused images with devbox image gc"


def _measure_usage(paths: Paths) -> int:
    unpacked = sum(snapshots.measure_size(paths, diff_id) for diff_id in snapshots.list_snapshots(paths))
    return unpacked + sum(map(measure_tree, (paths.oci, paths.buildah)))
