"""Lookups in the store, without baking."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from devbox.host import files
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.images.store import layout, snapshots
from devbox.images.store.step_cache import StepCache
from devbox.model.image import BakedImage, ImageConfig, Layer

KEY = "sha256:" + "1" * 64
LOWER, UPPER = (
    Layer(digest=f"sha256:{digit * 64}", diff_id=f"sha256:{digit * 64}", size=1, media_type=layout.LAYER)
    for digit in "ab"
)
BAKED = BakedImage(
    key=KEY,
    digest="sha256:d",
    manifest="sha256:m",
    config_digest="sha256:c",
    layers=(LOWER, UPPER),
    config=ImageConfig(),
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A home in which the image's snapshots lie."""
    made = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    for layer in BAKED.layers:
        os.makedirs(snapshots.get_snapshot_dir(made, layer.diff_id))
    return made


def test_a_recorded_image_is_found_with_its_topmost_layer_first(paths: Paths) -> None:
    StepCache(paths).record_image(BAKED)
    store = ImageStore(paths)
    assert store.find(KEY) == BAKED
    assert [lower.split("/")[-2][0] for lower in store.list_lowers(BAKED)] == ["b", "a"]
    assert store.find("sha256:" + "2" * 64) is None


def test_a_record_without_its_data_counts_as_none(paths: Paths) -> None:
    cache = StepCache(paths)
    cache.record_image(BAKED)
    cache.record_layer("sha256:" + "3" * 64, UPPER, {})
    store = ImageStore(paths)
    assert store.find_cached_steps(["sha256:" + "3" * 64, KEY]) == {"sha256:" + "3" * 64}
    shutil.rmtree(snapshots.get_snapshot_dir(paths, UPPER.diff_id))
    assert store.find(KEY) is None
    assert store.find_cached_steps(["sha256:" + "3" * 64]) == frozenset()


def test_a_record_of_another_format_counts_as_none(paths: Paths) -> None:
    os.makedirs(paths.steps)
    Path(paths.steps, f"{'1' * 64}.json").write_text('{"format": 99, "image": {}}')
    assert ImageStore(paths).find(KEY) is None


def test_unfinished_files_of_ended_processes_are_removed_and_others_kept(paths: Paths) -> None:
    os.makedirs(paths.steps)
    nobody = Path("/proc/sys/kernel/pid_max").read_text().strip()
    dead, alive = (Path(paths.steps, f"1.json.new-{pid}-7") for pid in (nobody, os.getpid()))
    elsewhere = Path(paths.steps, f"2.json.new-{nobody}-7")  # of a live process in another pid namespace
    for path in (dead, alive, elsewhere):
        path.write_text("")
    for path in (dead, alive):
        os.utime(path, (0, time.time() - 2 * files.ABANDONED))
    ImageStore(paths).sweep()
    assert elsewhere.exists()
    assert not dead.exists()
    assert alive.exists()


def test_a_directory_belongs_to_the_process_that_holds_its_lock(paths: Paths) -> None:
    place = snapshots.create_workdir(paths, KEY)
    with files.lock_file(snapshots.get_step_lock(paths, KEY)):
        assert snapshots.list_abandoned(paths) == []
    assert snapshots.list_abandoned(paths) == [place]
