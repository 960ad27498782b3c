"""Package lists on the host: what apt is called with, and what is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.host.paths import Paths
from devbox.images.bake import package_lists
from devbox.images.bake.package_lists import AptPackage
from devbox.model.image import Bootstrap

BASE = Bootstrap(distribution="debian", suite="trixie")
LIST = "Package: {name}\nVersion: {version}\nDescription: {about}\nDescription-md5: 0\n\n"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("DEVBOX_CACHE", str(tmp_path / "cache"))
    return Paths(home=str(tmp_path / "home"), runtime=str(tmp_path / "run"))


def write(place: Path, name: str, version: str) -> str:
    place.mkdir(parents=True, exist_ok=True)
    path = place / name
    path.write_text(LIST.format(name="git", version=version, about="revision control"))
    return str(path)


def test_updates_win_over_the_release(paths: Paths):
    lists = Path(package_lists.AptCache(paths, BASE).lists)
    write(lists, "x_dists_trixie-security_main_binary-amd64_Packages", "3")
    write(lists, "x_dists_trixie-updates_main_binary-amd64_Packages", "2")
    write(lists, "x_dists_trixie_main_binary-amd64_Packages", "1")
    (lists / "x_InRelease").write_text("Package: other\n")
    found = package_lists.read_packages(package_lists.ensure_lists(paths, BASE))
    assert found == {"git": AptPackage("git", "3", "revision control")}


def test_apt_touches_nothing_of_the_host():
    argv = package_lists.build_argv("apt-get", "/c/searched", "/c/searched.list", ca_file="/ca.pem")
    assert argv[-1] == "update"
    settings = dict(word.split("=", 1) for word in argv[2::2])
    places = {name: value for name, value in settings.items() if name.startswith("Dir")}
    assert all(value.startswith(("/c/", "/dev/null", "/nonexistent")) for value in places.values())
    assert settings["Acquire::https::CAInfo"] == "/ca.pem"


def test_old_lists_are_downloaded_again(paths: Paths, monkeypatch: pytest.MonkeyPatch):
    place = Path(package_lists.AptCache(paths, BASE).lists).parent / "searched"
    write(place, "x_dists_trixie_main_binary-amd64_Packages", "1")
    sources = place.with_name("searched.list")
    sources.write_text("")
    assert len(package_lists.ensure_lists(paths, BASE)) == 1
    os.utime(sources, (0, 0))
    monkeypatch.setenv("DEVBOX_MIRROR_DEBIAN", "http://127.0.0.1:9/debian")
    with pytest.raises(HostError, match="cannot reach the package mirror"):
        package_lists.ensure_lists(paths, BASE)
