"""Copies into and out of an image: no link in the image leads to the host files that are mounted meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from devbox.errors import DevboxError
from devbox.images.bake.overlay import copy_in, copy_out
from devbox.model.image import Copy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount an overlay here")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The only layer of an image."""
    for name in ("image/.devbox", "image/other/output/dist", "place", "copies", "built/output/dist"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "image/other/output/dist/file").write_text("the image's")
    (tmp_path / "built/output/dist/file").write_text("the build's")
    return tmp_path / "image"


def _copy_in(tmp_path: Path, target: str) -> Path:
    built, lowers = str(tmp_path / "built"), (str(tmp_path / "image"),)
    step = Copy(paths={"dist": target})
    return Path(copy_in(step, source=built, lowers=lowers, place=str(tmp_path / "place"), rootless=False))


def _copy_out(tmp_path: Path, path: str) -> Path:
    lowers, copies = (str(tmp_path / "image"),), str(tmp_path / "copies")
    copy_out((path,), lowers=lowers, place=str(tmp_path / "place"), target=copies, rootless=False)
    return tmp_path / "copies/0"


@pytest.mark.parametrize("way", [".devbox", ".devbox/source"])
def test_issue9_an_image_link_does_not_replace_the_build_output(tmp_path: Path, image: Path, way: str) -> None:
    """Its own link was followed, on the host, to where the output was to be shown."""
    if way == ".devbox":
        (image / way).rmdir()
    (image / way).symlink_to(image / "other")
    assert (_copy_in(tmp_path, "/got") / "got/file").read_text() == "the build's"


@pytest.mark.parametrize(
    ("link", "leads_to", "error"),
    [
        ("into", "/.devbox/source/output", "leads to /.devbox, which is reserved for devbox"),
        ("into", "/.devbox", "leads to /.devbox, which is reserved for devbox"),
        ("app", "/other", None),
    ],
)
def test_issue9_nothing_is_written_to_the_snapshot_of_what_was_built(
    tmp_path: Path, image: Path, link: str, leads_to: str, error: str | None
) -> None:
    (image / link).symlink_to(leads_to)
    if error:
        with pytest.raises(DevboxError, match=error):
            _copy_in(tmp_path, f"/{link}")
    else:
        (image / "other/deep").symlink_to("/.devbox/source/output/dist")
        (tmp_path / "built/output/dist/deep").mkdir()
        (tmp_path / "built/output/dist/deep/new").write_text("new")
        with pytest.raises(DevboxError, match="Read-only file system"):
            _copy_in(tmp_path, f"/{link}")
    assert not (tmp_path / "built/output/file").exists()
    assert not (tmp_path / "built/output/dist/new").exists()
    assert (tmp_path / "built/output/dist/file").read_text() == "the build's"


@pytest.mark.parametrize("name", ["pipe", "disk", "way"])
def test_issue9_what_is_neither_a_file_nor_a_directory_is_not_copied_out(
    tmp_path: Path, image: Path, name: str
) -> None:
    os.mkfifo(image / "pipe")
    os.mknod(image / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    (image / "way").symlink_to("disk")
    with pytest.raises(DevboxError, match=f"^/{name} of the image is neither a file nor a directory"):
        _copy_out(tmp_path, f"/{name}")


def test_issue9_a_link_to_the_copies_themselves_is_not_copied(tmp_path: Path, image: Path) -> None:
    """Each copy was copied into itself, until Python gave up."""
    (image / "self").symlink_to("/.devbox/target")
    with pytest.raises(DevboxError, match=r"^/self of the image leads to /"):
        _copy_out(tmp_path, "/self")


def test_issue9_a_whole_image_is_copied_out(tmp_path: Path, image: Path) -> None:
    (image / ".devbox/target").symlink_to("/other")
    assert sorted(os.listdir(_copy_out(tmp_path, "/"))) == ["other"]
