"""Written files replace what the image has in their place: no blocking on a pipe, no write to a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from devbox.images.bake.steps import write_files
from devbox.model.image import Files


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount an overlay here")
def test_a_pipe_and_a_device_give_way(tmp_path: Path) -> None:
    lower, place = tmp_path / "lower", tmp_path / "place"
    lower.mkdir()
    place.mkdir()
    os.mkfifo(lower / "pipe")
    os.mknod(lower / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    (lower / "way").symlink_to("/pipe")
    (lower / "new").symlink_to("/made")
    step = Files(contents={"/pipe": "1", "/full": "2", "/way": "3", "/new": "4"})
    upper = Path(write_files(step, lowers=(str(lower),), place=str(place), rootless=False))
    assert {name: (upper / name).read_text() for name in ("pipe", "full", "made")} == {
        "pipe": "3",
        "full": "2",
        "made": "4",
    }
    assert stat.S_ISFIFO(os.lstat(lower / "pipe").st_mode)
