"""From a digest to its layers: every document on the way is verified."""

from __future__ import annotations

import json

import pytest

from devbox.errors import RegistryError
from devbox.images import reachable
from devbox.images.store import layout, manifest
from devbox.images.store.layout import Layout
from devbox.model.image import Layer

DIFF = f"sha256:{'d' * 64}"
LAYER = Layer(digest=DIFF, diff_id=DIFF, size=3, media_type=layout.LAYER)


@pytest.fixture
def oci(tmp_path):
    made = Layout(str(tmp_path / "oci"), lock=str(tmp_path / "lock"))
    made.create()
    return made


def image(oci):
    config = oci.write_json(layout.CONFIG, {"rootfs": {"type": "layers", "diff_ids": [DIFF]}})
    one = oci.write_json(layout.MANIFEST, manifest.build_image_manifest(config, [LAYER]))
    top = oci.write_json(layout.INDEX, manifest.build_image_index(one))
    return {"config": config.digest, "manifest": one.digest, "index": top.digest}


def test_the_layers_of_an_index_are_those_its_config_names(oci):
    assert reachable.read_layers(oci, image(oci)["index"]) == (LAYER,)


@pytest.mark.parametrize("which", ["index", "manifest", "config"])
def test_a_changed_document_is_found_wherever_it_is(oci, which):
    made = image(oci)
    path = oci.get_blob_path(made[which])
    with open(path) as source:
        plain = json.load(source)
    with open(path, "w") as target:
        json.dump(plain, target)  # the same, with spaces
    with pytest.raises(RegistryError, match="digest mismatch"):
        reachable.read_layers(oci, made["index"])


def test_what_is_not_there_is_not_there(oci):
    with pytest.raises(RegistryError, match="not found in the store"):
        reachable.read_layers(oci, DIFF)
