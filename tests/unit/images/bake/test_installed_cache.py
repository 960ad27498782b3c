"""Cached packages as an apt repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.machine import lacking

from devbox.images.bake import installed


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A cache with one package whose version has an epoch."""
    if shutil.which("dpkg-deb") is None:
        lacking("dpkg-deb is not installed")
    tree = tmp_path / "tree/DEBIAN"
    tree.mkdir(parents=True)
    (tree / "control").write_text("Package: tiny\nVersion: 1:2-3\nArchitecture: all\nMaintainer: x\nDescription: x\n")
    cache = tmp_path / "archives"
    cache.mkdir()
    made = cache / "tiny_1%3a2-3_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree.parent, made], check=True, capture_output=True)
    (cache / "devbox.lock").touch()
    return cache


def test_what_is_cached_in_the_locked_version_is_offered(archives: Path, tmp_path: Path):
    place = tmp_path / "debs"
    assert installed.create_repository(str(archives), str(place), {"tiny": "1:2-3"}, suite="trixie")
    index = (place / "Packages").read_text()
    assert "Version: 1:2-3\n" in index
    assert "Filename: ./tiny_1%3a2-3_all.deb\n" in index
    assert (place / "tiny_1%3a2-3_all.deb").exists()
    assert "Codename: trixie\n" in (place / "Release").read_text()


def test_what_is_cached_in_another_version_is_not(archives: Path, tmp_path: Path):
    assert not installed.create_repository(str(archives), str(tmp_path / "debs"), {"tiny": "1:2-4"}, suite="trixie")
    assert (tmp_path / "debs/Packages").read_text() == ""


def test_pins_are_stronger_than_what_is_preferred():
    assert installed.format_preferences({"a": "1"}, {}) == "Package: a\nPin: version 1\nPin-Priority: 1001\n"
    assert installed.format_preferences(None, {"a": "1"}) == "Package: a\nPin: version 1\nPin-Priority: 990\n"
    assert installed.format_preferences(None, {}) == ""
