"""Which of buildah's images are kept, by the last build of each Dockerfile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devbox.host.paths import Paths
from devbox.images.dockerfile import cache
from devbox.images.dockerfile.cache import UnwantedImages
from devbox.model.image import FromDockerfile

# Two Dockerfiles on one base; b has a further step, and c is an unrecorded image on top of a.
LAYERS = {"base": "", "a": "base", "b": "base", "b2": "b", "c": "a"}
PRINTED = f"""[1/2] STEP 1/2: FROM oci:x
Copying blob sha256:{"0" * 64}
Copying config sha256:{"b" * 64}
[1/2] STEP 2/2: RUN echo Using cache
--> Using cache {"a" * 64}
--> 0123456789ab
[2/2] STEP 2/2: RUN echo "--> Using cache {"d" * 64}"
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A storage with an image to each layer, as containers/storage writes them."""
    made = Paths(str(tmp_path), str(tmp_path / "run"))
    root = Path(made.buildah) / "root"
    for directory in ("overlay-images", "overlay-layers", *(f"overlay/{layer}" for layer in LAYERS)):
        (root / directory).mkdir(parents=True)
    images = [{"id": f"image-{layer}", "layer": layer} for layer in LAYERS]
    (root / "overlay-images/images.json").write_text(json.dumps(images))
    layers = [{"id": layer, **({"parent": parent} if parent else {})} for layer, parent in LAYERS.items()]
    (root / "overlay-layers/layers.json").write_text(json.dumps(layers))
    (root / "overlay/b2/file").write_bytes(bytes(100_000))
    return made


def test_what_a_build_used_is_in_its_output():
    assert cache.parse_used(PRINTED) == {"a" * 64, "b" * 64}


def test_an_image_is_built_on_other_images(paths: Paths):
    assert cache.find_with_parents(paths.buildah, "image-b2") == {"image-base", "image-b", "image-b2"}
    assert cache.find_with_parents(paths.buildah, "") == set()


def test_images_that_no_dockerfile_uses_are_removed_top_down(paths: Paths):
    cache.record_uses(paths.buildah, "one", ["image-base", "image-a"])
    cache.record_uses(paths.buildah, "two", ["image-base", "image-b", "image-b2"])
    found = cache.find_unwanted(paths, {"one"})
    assert found
    assert set(found.images) == {"image-b", "image-b2", "image-c"}
    assert found.images.index("image-b2") < found.images.index("image-b")
    assert 100_000 < found.size < 150_000
    assert set(cache.find_parents(paths, found.images)) == {"image-base", "image-a"}
    assert cache.find_unwanted(paths, {"one", "two"}) == UnwantedImages(("image-c",), 4096)


def test_a_build_replaces_what_the_last_one_used_and_a_failed_one_adds(paths: Paths):
    cache.record_uses(paths.buildah, "one", ["image-base", "image-a"])
    cache.record_uses(paths.buildah, "one", ["image-b"], all_of_it=False)
    found = cache.find_unwanted(paths, {"one"})
    assert found
    assert set(found.images) == {"image-b2", "image-c"}
    cache.record_uses(paths.buildah, "one", ["image-base"])
    found = cache.find_unwanted(paths, {"one"})
    assert found
    assert set(found.images) == {"image-a", "image-b", "image-b2", "image-c"}


def test_without_dockerfiles_the_whole_cache_may_be_removed(paths: Paths):
    cache.record_uses(paths.buildah, "one", ["image-base", "image-gone"])
    assert cache.find_unwanted(paths, set()) is None
    assert cache.find_unwanted(paths, {"two"}) is None
    cache.forget_uses(paths, {"two"})
    assert cache.find_unwanted(paths, {"one"}) is None


def test_an_empty_store_has_no_cache(tmp_path: Path):
    paths = Paths(str(tmp_path), str(tmp_path / "run"))
    assert cache.find_unwanted(paths, {"one"}) is None
    assert cache.list_images(paths.buildah) == set()


def test_a_dockerfile_keeps_its_name_when_its_content_changes():
    one = FromDockerfile(path="Dockerfile", root="/srv/app", content="sha256:1", pins={"debian": "sha256:2"})
    same = FromDockerfile(path="Dockerfile", root="/srv/app", content="sha256:3")
    other = FromDockerfile(path="Dockerfile", root="/srv/app", target="test")
    assert cache.compute_name(one) == cache.compute_name(same) != cache.compute_name(other)
