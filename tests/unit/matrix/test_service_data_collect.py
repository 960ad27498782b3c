"""Files collected from a cell: regular files that it wrote, and no link targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.matrix.service_data import collect


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    path = tmp_path / "cell"
    (path / "reports/deep").mkdir(parents=True)
    (path / "junit.xml").write_text("<a/>")
    (path / "reports/one.xml").write_text("<b/>")
    (path / "reports/deep/two.xml").write_text("<c/>")
    (path / "other").write_text("no")
    return path


def names(found: tuple[str, ...], target: Path) -> list[str]:
    return [os.path.relpath(path, target) for path in found]


def test_what_patterns_name_is_copied(cell: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    assert names(collect(str(cell), ["junit.xml"], str(target)), target) == ["junit.xml"]
    assert names(collect(str(cell), ["reports/*.xml"], str(target)), target) == ["reports/one.xml"]
    found = collect(str(cell), ["./**/*.xml"], str(target))
    assert names(found, target) == ["junit.xml", "reports/deep/two.xml", "reports/one.xml"]
    assert Path(found[1]).read_text() == "<c/>"


def test_no_patterns_or_no_files_collect_nothing(cell: Path, tmp_path: Path) -> None:
    assert collect(str(cell), [], str(tmp_path / "kept")) == ()
    assert collect(str(tmp_path / "nowhere"), ["*"], str(tmp_path / "kept")) == ()
    assert not (tmp_path / "kept").exists()


def test_no_link_is_followed_and_nothing_waited_for(cell: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x.xml").write_text("secret")
    (cell / "l.xml").symlink_to(secret / "x.xml")
    (cell / "d").symlink_to(secret)
    os.mkfifo(cell / "f.xml")
    target = tmp_path / "kept"
    found = names(collect(str(cell), ["**/*.xml"], str(target)), target)
    assert found == ["junit.xml", "reports/deep/two.xml", "reports/one.xml"]


def test_a_directory_with_the_name_of_a_report_is_not_collected(cell: Path, tmp_path: Path) -> None:
    (cell / "dir.xml").mkdir()
    assert collect(str(cell), ["dir.xml"], str(tmp_path / "kept")) == ()
