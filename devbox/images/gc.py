"""Collection: what no root needs leaves the store, in an order in which a kill at any moment leaves a valid one.

First the records go, then the names, then snapshots, then blobs: nothing that is still known of lacks what it needs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import NamedTuple

from devbox.host.paths import Paths
from devbox.host.sizes import tree_size
from devbox.images import gate, reach, snapshots
from devbox.images.dockerfile import cache as builds
from devbox.images.layout import Layout
from devbox.images.reach import Roots
from devbox.images.stepcache import StepCache
from devbox.images.workers import Workers


class Garbage(NamedTuple):
    """What no root needs. `size` in bytes, as on the disk."""

    records: tuple[str, ...]  # keys
    names: tuple[str, ...]
    snapshots: tuple[str, ...]
    blobs: tuple[str, ...]
    broken_off: tuple[str, ...]  # paths of what killed bakes and transfers left, and of a cache that nobody uses
    build_cache: tuple[str, ...]  # ids of images of buildah's storage
    size: int


def look(paths: Paths, roots: Roots) -> Garbage:
    """What a collection would remove now."""
    cache, oci = StepCache(paths), Layout(paths.oci, lock=paths.lock("oci-index"))
    records = cache.records()
    leased = {key for key in records if key not in roots.keys and gate.is_leased(paths, key)}
    needed = reach.needed(roots | Roots(keys=frozenset(leased)), records, oci)
    old_records = tuple(key for key, made in records.items() if not needed.holds(made))
    old_snapshots = tuple(each for each in snapshots.present(paths) if each not in needed.snapshots)
    old_blobs = tuple(each for each in oci.digests() if each not in needed.blobs)
    cached = builds.unwanted(paths, roots.dockerfiles)
    broken_off = (*snapshots.abandoned(paths), *_partial(paths))
    if cached is None and os.path.isdir(paths.buildah):
        broken_off = (*broken_off, paths.buildah)
    cached = cached or builds.Unwanted()
    size = sum(map(cache.size, old_records)) + sum(map(tree_size, broken_off))
    size += sum(snapshots.size(paths, each) for each in old_snapshots)
    size += sum(tree_size(oci.blob(each)) for each in old_blobs)
    names = tuple(name for name, target in oci.refs().items() if target.digest not in needed.blobs)
    return Garbage(
        old_records,
        names,
        old_snapshots,
        old_blobs,
        broken_off,
        cached.images,
        size + cached.size,
    )


def collect(paths: Paths, roots: Callable[[], Roots], on_wait: Callable[[], None]) -> Garbage:
    """Remove what no root needs, when nobody bakes or pulls; the roots are asked for then."""
    with gate.closed(paths, on_wait):
        now = roots()
        garbage = look(paths, now)
        _remove(paths, garbage)
        builds.forget_uses(paths, now.dockerfiles)
    return garbage


def _remove(paths: Paths, garbage: Garbage) -> None:
    cache, oci = StepCache(paths), Layout(paths.oci, lock=paths.lock("oci-index"))
    for key in garbage.records:
        cache.forget(key)
        gate.forget_lease(paths, key)
    oci.keep_entries(set(oci.digests()) - set(garbage.blobs))
    away = [snapshots.put_away(paths, diff_id) for diff_id in garbage.snapshots]
    places = [path for path in garbage.broken_off if os.path.isdir(path)]
    for path in (*map(oci.blob, garbage.blobs), *garbage.broken_off):
        if path not in places:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    if away or places:
        Workers(paths).remove((*away, *places))
    if garbage.build_cache:
        _shrink_build_cache(paths, garbage)


def _shrink_build_cache(paths: Paths, garbage: Garbage) -> None:
    place = snapshots.new_place(paths, garbage.build_cache[0])
    try:
        Workers(paths).prune(garbage.build_cache, kept=builds.below(paths, garbage.build_cache), place=place)
    finally:
        Workers(paths).remove((place,))


def _partial(paths: Paths) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [f"{paths.partial}/{name}" for name in os.listdir(paths.partial)]
    return []
