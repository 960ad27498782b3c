"""A bake with a lock reproduces the locked image while its packages are available."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from devbox.errors import BakeFailed
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.model.image import BakeStep, Bootstrap, Files, ImageConfig, ImageSpec, KeyedImage, Packages, Run, key_image

NOWHERE = "http://127.0.0.1:9/debian"  # a mirror that never answers
SPEC = ImageSpec(
    name="base",
    parent=None,
    steps=(Bootstrap(distribution="debian", suite="trixie"), Packages(names=("less",)), Run(commands=("touch /x",))),
    config=ImageConfig(),
)


@pytest.fixture
def locked(store: ImageStore) -> KeyedImage:
    """The image, with its steps pinned to the versions of this run's first bake."""
    image = key_image("base", {"base": SPEC})
    store.bake(image, lambda _: None)
    return store.pin(image)


def fresh_store(homes: Path, name: str) -> ImageStore:
    return ImageStore(Paths(str(homes / name), str(homes / f"{name}-run")))


def test_what_was_baked_without_a_lock_is_known_by_the_lock_it_gives(store: ImageStore, locked: KeyedImage) -> None:
    baked = store.find(locked.key)
    assert baked is not None
    assert locked.chain[0].step.pins["libc6"]
    assert locked.chain[1].step.pins.keys() == {"less"}
    assert locked.chain[2].step.pins is None  # commands that install nothing
    states: list[str] = []
    assert store.bake(locked, lambda event: states.append(event.state)) == baked
    assert set(states) == {"cached"}


@pytest.mark.long
def test_the_cache_alone_bakes_the_same_bytes(
    store: ImageStore, locked: KeyedImage, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVBOX_MIRROR_DEBIAN", NOWHERE)
    assert fresh_store(homes, "locked").bake(locked, lambda _: None) == store.find(locked.key)


@pytest.mark.long
def test_an_unknown_package_is_named_with_the_available_ones(store: ImageStore, locked: KeyedImage) -> None:
    desired = replace(SPEC.steps[1], pins={"less": "1-1"})
    offered = locked.chain[1].step.pins["less"]
    image = key_image("base", {"base": replace(SPEC, steps=(locked.chain[0].step, desired))})
    with pytest.raises(BakeFailed) as caught:
        store.bake(image, lambda _: None)
    assert caught.value.details == f"less: locked 1-1, offered {offered}"
    assert "devbox update less" in caught.value.remedy
    assert store.find(image.key) is None


@pytest.mark.long
def test_a_renewed_step_is_made_once_and_only_where_it_installs_something(
    store: ImageStore, locked: KeyedImage
) -> None:
    steps = (locked.chain[0].step, *SPEC.steps[1:])
    image = key_image("base", {"base": replace(SPEC, steps=steps)})
    renewed: set[str] = set()
    for states in (["cached", "running", "cached"], ["cached", "cached", "cached"]):
        seen: list[str] = []
        baked = store.bake(image, lambda event, seen=seen: seen.append(event.state), renewed=renewed)
        assert [state for state in seen if state in ("cached", "running")] == states
        assert baked == store.find(locked.key)


@pytest.mark.long
def test_downloads_of_a_new_base_are_kept(locked: KeyedImage) -> None:
    assert shutil.which("dpkg-deb")
    pins = locked.chain[0].step.pins
    archives = os.listdir(f"{os.environ['DEVBOX_CACHE']}/signed/debian-trixie/debs")
    names = {name.partition("_")[0] for name in archives}
    assert pins.keys() <= names


def test_one_changed_file_of_the_last_step_changes_the_last_layer_alone(store: ImageStore, locked: KeyedImage) -> None:
    below = tuple(link.step for link in locked.chain)
    images = {
        text: replace(SPEC, steps=(*below, Files(contents={"/etc/motd": text, "/etc/issue": "same\n"})))
        for text in ("one\n", "two\n")
    }
    first, second = (store.bake(key_image("base", {"base": spec}), lambda _: None) for spec in images.values())
    assert first.digest != second.digest
    assert first.layers[:-1] == second.layers[:-1]
    assert first.layers[-1] != second.layers[-1]


@pytest.mark.long
def test_a_mirror_that_has_the_locked_versions_does_as_well_as_the_cache(
    store: ImageStore, locked: KeyedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, packages = locked.chain[0].step, Packages(names=("ca-certificates",))  # which mirrors have in two versions
    known = store.pin(_baked(store, base, packages))
    moved = Files(contents={"/moved": ""})  # so that the step has to be made again
    monkeypatch.setenv("DEVBOX_CACHE", str(tmp_path))
    again = store.pin(_baked(store, base, moved, known.chain[1].step))
    assert again.chain[2].step == known.chain[1].step
    layers = [store.find(image.key).layers[-1] for image in (known, again)]
    assert layers[0] == layers[1]


def _baked(store: ImageStore, *steps: BakeStep) -> KeyedImage:
    image = key_image("base", {"base": replace(SPEC, steps=steps)})
    store.bake(image, lambda _: None)
    return image
