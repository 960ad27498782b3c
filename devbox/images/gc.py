"""Garbage collection of the store; a kill at any point leaves the store consistent.

Removal order: records, names, snapshots, blobs, so that a remaining object never refers to a removed one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import NamedTuple

from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.images.bake.pool import Workers
from devbox.images.dockerfile import cache as builds
from devbox.images.reachable import Roots, find_needed
from devbox.images.store import lock, snapshots
from devbox.images.store.layout import Layout
from devbox.images.store.step_cache import StepCache


class Garbage(NamedTuple):
    """Objects that are unreachable from the roots. `size` in bytes on disk."""

    records: tuple[str, ...]  # keys
    names: tuple[str, ...]
    snapshots: tuple[str, ...]
    blobs: tuple[str, ...]
    broken_off: tuple[str, ...]  # leftovers of killed builds and transfers, and an unused cache: paths
    build_cache: tuple[str, ...]  # ids of images in buildah's storage
    size: int


def find_garbage(paths: Paths, roots: Roots) -> Garbage:
    """Return the objects that a collection would remove now."""
    cache, oci = StepCache(paths), Layout(paths.oci, lock=paths.lock("oci-index"))
    records = cache.read_records()
    leased = {key for key in records if key not in roots.keys and lock.is_leased(paths, key)}
    needed = find_needed(roots | Roots(keys=frozenset(leased)), records, oci)
    old_records = tuple(key for key, baked in records.items() if not needed.holds(baked))
    old_snapshots = tuple(each for each in snapshots.list_snapshots(paths) if each not in needed.snapshots)
    old_blobs = tuple(each for each in oci.list_digests() if each not in needed.blobs)
    cached = builds.find_unwanted(paths, roots.dockerfiles)
    broken_off = (*snapshots.list_abandoned(paths), *_list_partial(paths))
    if cached is None and os.path.isdir(paths.buildah):
        broken_off = (*broken_off, paths.buildah)
    cached = cached or builds.UnwantedImages()
    size = sum(map(cache.measure_size, old_records)) + sum(map(measure_tree, broken_off))
    size += sum(snapshots.measure_size(paths, each) for each in old_snapshots)
    size += sum(measure_tree(oci.get_blob_path(each)) for each in old_blobs)
    names = tuple(name for name, target in oci.read_refs().items() if target.digest not in needed.blobs)
    return Garbage(old_records, names, old_snapshots, old_blobs, broken_off, cached.images, size + cached.size)


def collect(paths: Paths, roots: Callable[[], Roots], on_wait: Callable[[], None]) -> Garbage:
    """Remove unreachable objects while no build or pull runs; the roots are determined under the lock."""
    with lock.lock_exclusive(paths, on_wait):
        now = roots()
        garbage = find_garbage(paths, now)
        _remove(paths, garbage)
        builds.forget_uses(paths, now.dockerfiles)
    return garbage


def _remove(paths: Paths, garbage: Garbage) -> None:
    cache, oci = StepCache(paths), Layout(paths.oci, lock=paths.lock("oci-index"))
    for key in garbage.records:
        cache.forget(key)
        lock.remove_lease(paths, key)
    oci.retain_entries(set(oci.list_digests()) - set(garbage.blobs))
    moved = [snapshots.move_aside(paths, diff_id) for diff_id in garbage.snapshots]
    places = [path for path in garbage.broken_off if os.path.isdir(path)]
    for path in (*map(oci.get_blob_path, garbage.blobs), *garbage.broken_off):
        if path not in places:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    if moved or places:
        Workers(paths).remove((*moved, *places))
    if garbage.build_cache:
        _shrink_build_cache(paths, garbage)


def _shrink_build_cache(paths: Paths, garbage: Garbage) -> None:
    place = snapshots.create_workdir(paths, garbage.build_cache[0])
    try:
        Workers(paths).prune(garbage.build_cache, kept=builds.find_parents(paths, garbage.build_cache), place=place)
    finally:
        Workers(paths).remove((place,))


def _list_partial(paths: Paths) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [f"{paths.partial_blobs}/{name}" for name in os.listdir(paths.partial_blobs)]
    return []
