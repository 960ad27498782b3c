"""Garbage collection and verification of a store of small images, also when killed at any point. No bakes."""

from __future__ import annotations

import os
import random
import select
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support import layouts

from devbox.errors import UsageError
from devbox.host.paths import Paths
from devbox.images import gc, image_store, verify
from devbox.images.reachable import Roots
from devbox.images.store import lock, snapshots
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.step_cache import StepCache
from devbox.model import ids
from devbox.model.image import BakedImage, ImageConfig, Layer


class Small:
    """A store of small images, each of one layer of its own over one that all have."""

    def __init__(self, home: Path) -> None:
        self.paths = Paths(str(home / "home"), str(home / "run"))
        self.oci = Layout(self.paths.oci, lock=self.paths.lock("oci-index"))
        self.cache = StepCache(self.paths)

    def image(self, seed: int) -> BakedImage:
        """An image with its records, its snapshots, and something that refers to it."""
        pieces = [layouts.layer(self.oci, {"f": layouts.noise(20_000, each)}, packed=False) for each in (0, seed)]
        layers = tuple(self._layer(*piece) for piece in pieces)
        manifest = layouts.manifest(self.oci, *pieces)
        index = layouts.index(self.oci, (manifest, layouts.get_architecture()))
        self.oci.set_ref(f"image-{seed:012}", index)
        self.oci.add_unnamed(layouts.manifest(self.oci, subject=index))
        config = self.oci.read_json(manifest.digest)["config"]["digest"]
        baked = BakedImage(
            key=ids.compute_key(seed),
            digest=index.digest,
            manifest=manifest.digest,
            config_digest=config,
            layers=layers,
            config=ImageConfig(),
        )
        self.cache.record_image(baked)
        return baked

    def complete(self, baked: BakedImage) -> bool:
        """Whether all of an image is there."""
        blobs = (baked.digest, baked.manifest, baked.config_digest, *(layer.digest for layer in baked.layers))
        return all(map(self.oci.has_blob, blobs)) and self.cache.find_image(baked.key) == baked

    def _layer(self, blob: Descriptor, diff_id: str) -> Layer:
        layer = Layer(digest=blob.digest, diff_id=diff_id, size=blob.size, media_type=blob.media_type)
        os.makedirs(snapshots.get_snapshot_dir(self.paths, diff_id), exist_ok=True)
        self.cache.record_layer(ids.compute_key(diff_id), layer, {})
        return layer


@pytest.fixture
def small(homes: Path) -> Iterator[Small]:
    """A store of its own."""
    with tempfile.TemporaryDirectory(dir=homes) as place:
        os.chmod(place, 0o755)
        yield Small(Path(place))


def _say(fd: int) -> None:
    os.write(fd, b"w")


def nobody_waits() -> None:
    """Callback for a locked store, which must not be called."""
    raise AssertionError


def test_what_a_root_needs_stays_with_what_refers_to_it(small: Small):
    kept, gone = small.image(1), small.image(2)
    roots = Roots(keys=frozenset({kept.key}))
    found = gc.find_garbage(small.paths, roots)
    assert gc.collect(small.paths, lambda: roots, nobody_waits) == found
    assert found.names == ("image-000000000002",)
    assert {gone.digest, gone.manifest, gone.layers[1].digest} < set(found.blobs)
    assert found.snapshots == (gone.layers[1].diff_id,)
    assert small.complete(kept)
    assert small.cache.find_image(gone.key) is None
    assert len(small.oci.list_unnamed()) == 1
    assert verify.verify(small.paths, nobody_waits).faults == ()
    assert gc.find_garbage(small.paths, roots).size == 0
    assert not os.listdir(small.paths.tmp)


def test_an_image_that_runs_stays_by_its_digest_alone(small: Small):
    kept = small.image(1)
    gc.collect(small.paths, lambda: Roots(digests=frozenset({kept.digest})), nobody_waits)
    assert small.complete(kept)


def test_an_image_that_is_leased_stays(small: Small):
    kept = small.image(1)
    with lock.lease_image(small.paths, kept.key):
        gc.collect(small.paths, Roots, nobody_waits)
        assert small.complete(kept)
    gc.collect(small.paths, Roots, nobody_waits)
    assert not small.complete(kept)
    assert not [name for name in os.listdir(os.path.dirname(small.paths.lock("any"))) if name.startswith("image-")]


def test_garbage_collection_waits_for_bakes(small: Small):
    small.image(1)
    go, waiting = os.pipe(), os.pipe()
    child = os.fork()  # before the lock is taken: a child would hold its parent's
    if child == 0:
        try:
            os.read(go[0], 1)
            gc.collect(small.paths, Roots, partial(_say, waiting[1]))
        finally:
            os._exit(0)
    with lock.lock_shared(small.paths):
        os.write(go[1], b"g")
        assert os.read(waiting[0], 1) == b"w"
        new = small.image(2)
    assert os.waitpid(child, 0)[1] == 0
    assert not small.complete(new)
    for fd in (*go, *waiting):
        os.close(fd)


def test_leftovers_of_transfers_are_collected(small: Small):
    os.makedirs(small.paths.partial_blobs)
    Path(small.paths.partial_blobs, "a" * 64).write_bytes(b"half of it")
    found = gc.collect(small.paths, Roots, nobody_waits)
    assert found.broken_off == (f"{small.paths.partial_blobs}/{'a' * 64}",)
    assert not os.listdir(small.paths.partial_blobs)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_blob_takes_along_what_needs_it(small: Small, damage: str):
    sound, broken = small.image(1), small.image(2)
    path = Path(small.oci.get_blob_path(broken.layers[1].digest))
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + (b"!" if damage == "flip" else b""))
    (fault,) = verify.verify(small.paths, nobody_waits).faults
    assert fault.digest == broken.layers[1].digest
    assert fault.images == ("image-000000000002",)
    assert small.complete(sound)
    assert small.cache.find_image(broken.key) is None
    assert list(small.oci.read_refs()) == ["image-000000000001"]
    assert verify.verify(small.paths, nobody_waits).faults == ()


def test_a_killed_collection_leaves_a_valid_store(small: Small):
    chance = random.Random(7)
    kept = small.image(0)
    roots = Roots(keys=frozenset({kept.key}))
    for seed in range(1, 12):
        for each in range(4):
            small.image(10 * seed + each)
        child = os.fork()
        if child == 0:
            try:
                gc.collect(small.paths, lambda: roots, lambda: None)
            finally:
                os._exit(0)
        select.select([], [], [], chance.uniform(0, 0.15))  # any moment will do: none is waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert verify.verify(small.paths, lambda: None).faults == ()
        assert small.complete(kept)
    gc.collect(small.paths, lambda: roots, lambda: None)
    assert gc.find_garbage(small.paths, roots).size == 0
    assert small.complete(kept)


def test_a_budget_is_warned_of_before_it_is_reached(small: Small, monkeypatch: pytest.MonkeyPatch):
    small.image(1)
    monkeypatch.delenv("DEVBOX_IMAGE_BUDGET", raising=False)
    assert image_store.check_budget(small.paths) is None
    monkeypatch.setenv("DEVBOX_IMAGE_BUDGET", "50 kB")
    assert "of 50 kB" in (image_store.check_budget(small.paths) or "")
    monkeypatch.setenv("DEVBOX_IMAGE_BUDGET", "0")
    assert image_store.check_budget(small.paths) is None
    monkeypatch.setenv("DEVBOX_IMAGE_BUDGET", "much")
    with pytest.raises(UsageError, match='"much"'):
        image_store.check_budget(small.paths)
