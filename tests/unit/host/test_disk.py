"""Removal of trees of any depth, and of nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.host import disk


def deep(top: Path, levels: int) -> None:
    """Directories in each other, deeper than a path can name."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_a_tree_deeper_than_a_path_can_name(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    deep(top, 3000)
    disk.remove(str(top))
    assert not top.exists()


def test_all_kinds_of_entries_and_nothing_behind_links(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "file").write_text("stays")
    top = tmp_path / "top"
    for name in ("a/b/c", "a/d", "e", ".f/\udcff"):
        (top / name).mkdir(parents=True)
    (top / "a/b/c/file").write_text("x")
    (top / "a/b/link").symlink_to(tmp_path / "beside")
    (top / "dangling").symlink_to("nowhere")
    os.mkfifo(top / "a/d/fifo")
    disk.remove(str(top))
    assert [each.name for each in tmp_path.iterdir()] == ["beside"]
    assert (tmp_path / "beside" / "file").read_text() == "stays"


def test_a_link_is_not_removed_as_a_tree(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "link").symlink_to("beside")
    with pytest.raises(OSError, match="link"):
        disk.remove(str(tmp_path / "link"))
    with pytest.raises(FileNotFoundError):
        disk.remove(str(tmp_path / "nothing"))
    assert (tmp_path / "beside").is_dir()
