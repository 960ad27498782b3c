"""What a container's tar may do to the host: nothing but files, directories and links below the target."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.commands import copy
from devbox.errors import DevboxError


def _make(*entries: tuple[str, dict[str, object], bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, facts, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in facts.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    out.seek(0)
    return out


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., None]:
    (tmp_path / "target").mkdir()

    def unpack(*entries: tuple[str, dict[str, object], bytes], name: str = "a", renamed: str = "a") -> None:
        top = os.open(tmp_path / "target", os.O_RDONLY | os.O_DIRECTORY)
        try:
            copy._unpack(_make(*entries), top, name, renamed)
        finally:
            os.close(top)

    return unpack


DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o755}


def test_files_and_directories_under_another_name(unpack: Callable[..., None], tmp_path: Path):
    unpack(("a", DIRECTORY, b""), ("a/b", {"mode": 0o4755}, b"x"), renamed="c")
    made = tmp_path / "target/c/b"
    assert made.read_bytes() == b"x"
    assert stat.S_IMODE(made.stat().st_mode) == 0o755
    assert made.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "b/x", "a/.."])
def test_other_paths_are_refused(unpack: Callable[..., None], tmp_path: Path, path: str):
    with pytest.raises(DevboxError, match="unexpected path"):
        unpack((path, {}, b"x"))
    assert os.listdir(tmp_path / "target") == []


@pytest.mark.parametrize("goal", ["outside", "/etc", ".."])
def test_links_are_kept_and_not_followed(unpack: Callable[..., None], tmp_path: Path, goal: str):
    (tmp_path / "outside").mkdir()
    goal = str(tmp_path / goal) if goal == "outside" else goal
    with pytest.raises(DevboxError):
        unpack(("a", DIRECTORY, b""), ("a/l", {"type": tarfile.SYMTYPE, "linkname": goal}, b""), ("a/l/x", {}, b"x"))
    assert os.readlink(tmp_path / "target/a/l") == goal
    assert os.listdir(tmp_path / "outside") == []


def test_a_link_already_at_the_target_is_replaced_not_followed(unpack: Callable[..., None], tmp_path: Path):
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "target/a").symlink_to(tmp_path / "kept")
    unpack(("a", {}, b"theirs"))
    assert (tmp_path / "kept").read_text() == "mine"
    assert (tmp_path / "target/a").read_text() == "theirs"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE])
def test_special_files_and_hard_links_are_left_out(unpack: Callable[..., None], tmp_path: Path, kind: bytes):
    unpack(("a", DIRECTORY, b""), ("a/x", {"type": kind, "linkname": "/etc/passwd", "devmajor": 1, "devminor": 3}, b""))
    assert os.listdir(tmp_path / "target/a") == []


def test_a_directory_is_not_replaced_by_a_file(unpack: Callable[..., None], tmp_path: Path):
    (tmp_path / "target/a").mkdir()
    with pytest.raises(DevboxError, match="cannot replace the directory"):
        unpack(("a", {}, b"x"))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("b", (".", "b")),
        ("/a/.", ("/a/.", ".")),
        ("/", ("/", ".")),
        (".", (".", ".")),
        ("/a/..", ("/a/..", ".")),
    ],
)
def test_paths_are_split_into_directory_and_name(path: str, parts: tuple[str, str]):
    assert copy._split(path) == parts
