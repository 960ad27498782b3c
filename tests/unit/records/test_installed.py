"""Images that are kept by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.records.installed import NamedImages

DIGEST = f"sha256:{'a' * 64}"


def test_issue9_c22_an_image_is_kept_until_its_name_is_dropped(tmp_path: Path):
    kept = NamedImages(Paths(str(tmp_path / "home"), str(tmp_path / "run")))
    assert not kept.drop("debian")
    kept.store([("debian", DIGEST)])
    assert kept.read_images() == {"debian": DIGEST}
    assert kept.drop("debian")
    assert kept.read_images() == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 1, "images": {"x": null}}', '{"format": 1, "images": {"x": "sha256:../../etc"}}'],
)
def test_issue9_c22_a_damaged_record_is_said_to_be_damaged(tmp_path: Path, text: str):
    """A collection must not guess, and no image is to blame."""
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    os.makedirs(os.path.dirname(paths.named_images))
    Path(paths.named_images).write_text(text)
    with pytest.raises(DevboxError, match="is damaged"):
        NamedImages(paths).read_images()
