"""A project that is moved keeps its instance."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.host.paths import Paths
from devbox.host.project import identify
from devbox.model.ids import compute_instance_id
from devbox.records.instance import InstanceRecords
from devbox.records.projects import find_id

FILE = "devbox.toml"


def project(path: Path) -> str:
    path.mkdir()
    (path / FILE).touch()
    return str(path)


def known(tmp_path: Path, name: str = "a") -> tuple[Paths, str, str]:
    """A project that was up once: the paths, its root, its id."""
    paths, root = Paths(str(tmp_path / "home"), str(tmp_path / "run")), project(tmp_path / name)
    key = find_id(paths, root, FILE)
    InstanceRecords(paths, key).record_place(root, FILE)
    return paths, root, key


def test_issue9_b9_a_moved_directory_is_the_same_project(tmp_path: Path):
    paths, root, key = known(tmp_path)
    InstanceRecords(paths, "stage0000000").record_place(root, FILE, stage="production", protected=True)
    os.rename(root, tmp_path / "b")
    assert find_id(paths, str(tmp_path / "b"), FILE) == key == compute_instance_id(root, FILE)
    assert InstanceRecords(paths, key).read_place() == (str(tmp_path / "b"), FILE)
    assert InstanceRecords(paths, "stage0000000").read_place() == (str(tmp_path / "b"), FILE)
    assert InstanceRecords(paths, "stage0000000").read_stage() == "production"
    assert find_id(paths, str(tmp_path / "b"), FILE) == key


def test_the_next_project_at_the_former_place_is_another_one(tmp_path: Path):
    paths, root, key = known(tmp_path)
    os.rename(root, tmp_path / "b")
    find_id(paths, str(tmp_path / "b"), FILE)
    other = find_id(paths, project(Path(root)), FILE)
    assert other != key
    InstanceRecords(paths, other).record_place(root, FILE)
    shutil.rmtree(root)
    os.rename(tmp_path / "b", root)
    assert find_id(paths, root, FILE) == key, "the directory counts, not the place"
    assert os.path.isdir(paths.project(other)), "nothing is lost"


def test_a_directory_that_moves_back_is_still_the_same_project(tmp_path: Path):
    paths, root, key = known(tmp_path)
    for place in ("b", "c", "a"):
        os.rename(root, tmp_path / place)
        root = str(tmp_path / place)
        assert find_id(paths, root, FILE) == key, place
    assert os.listdir(tmp_path / "home" / "moved")


def test_a_copy_a_new_directory_and_another_file_are_other_projects(tmp_path: Path):
    paths, root, key = known(tmp_path)
    shutil.copytree(root, tmp_path / "copy")
    assert find_id(paths, str(tmp_path / "copy"), FILE) != key
    assert find_id(paths, project(tmp_path / "new"), FILE) != key
    os.rename(root, tmp_path / "b")
    assert find_id(paths, str(tmp_path / "b"), "other.toml") != key
    assert find_id(paths, str(tmp_path / "b"), FILE) == key


def test_issue9_b9_directories_that_change_places_keep_their_projects(tmp_path: Path):
    paths, _, first = known(tmp_path)
    keys = {"a": first, "b": known(tmp_path, "b")[2], "c": known(tmp_path, "c")[2]}
    InstanceRecords(paths, "stage0000000").record_place(str(tmp_path / "a"), FILE, stage="production")
    for before, after in (("a", "t"), ("c", "a"), ("b", "c"), ("t", "b")):
        os.rename(tmp_path / before, tmp_path / after)
    assert find_id(paths, str(tmp_path / "a"), FILE) == keys["c"]
    assert find_id(paths, str(tmp_path / "b"), FILE) == keys["a"]
    assert find_id(paths, str(tmp_path / "c"), FILE) == keys["b"]
    assert InstanceRecords(paths, "stage0000000").read_place() == (str(tmp_path / "b"), FILE)


def test_issue9_b9_a_clone_at_the_place_of_a_renamed_directory_is_another_project(tmp_path: Path):
    """Whichever of the two is read first."""
    paths, root, key = known(tmp_path)
    os.rename(root, tmp_path / "old")
    new = find_id(paths, project(Path(root)), FILE)
    assert new != key
    assert find_id(paths, str(tmp_path / "old"), FILE) == key
    assert find_id(paths, root, FILE) == new


def test_a_recreated_directory_at_the_same_path_is_the_same_project(tmp_path: Path):
    paths, root, key = known(tmp_path)
    shutil.rmtree(root)
    assert find_id(paths, project(Path(root)), FILE) == key
    os.rename(root, tmp_path / "b")
    assert find_id(paths, str(tmp_path / "b"), FILE) == key, "it is known by the new directory"


@pytest.mark.parametrize("text", [b"../../../etc", b"../../../../", b"0123", b"", b"\xff" * 12])
def test_issue10_2_a_file_that_names_no_instance_leads_nowhere(tmp_path: Path, text: bytes):
    """Paths are made of it: `down -v` would remove what it leads to."""
    paths, root, key = known(tmp_path)
    os.makedirs(f"{paths.home}/moved")
    Path(paths.moved_project(compute_instance_id(root, FILE))).write_bytes(text)
    assert identify(paths, root, FILE) == find_id(paths, root, FILE) == key


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_issue10_2_a_special_file_is_ignored_and_not_waited_for(tmp_path: Path, make: Callable[[str], None]):
    paths, root, key = known(tmp_path)
    os.makedirs(f"{paths.home}/moved")
    make(paths.moved_project(compute_instance_id(root, FILE)))
    assert identify(paths, root, FILE) == find_id(paths, root, FILE) == key
