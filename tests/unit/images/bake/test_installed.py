"""The packages that a step installed, read from the changes it left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import BakeFailed
from devbox.images.bake import installed
from devbox.model.image import Bootstrap, Files, Packages, Run

SYSTEM = Bootstrap(distribution="debian", suite="trixie")


def dpkg(tree: Path, **versions: str) -> Path:
    stanzas = [
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nDescription: x\n Status: no\n"
        for name, version in versions.items()
    ]
    stanzas.append("Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n")
    path = tree / "var/lib/dpkg/status"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(stanzas))
    return tree


def test_a_step_installed_what_its_status_has_beyond_the_one_below(tmp_path: Path):
    below = dpkg(tmp_path / "below", apt="1", libc="2")
    tree = dpkg(tmp_path / "tree", apt="1", libc="3", less="4")
    assert installed.find_installed(SYSTEM, str(below), ()) == {"apt": "1", "libc": "2"}
    assert installed.find_installed(Packages(names=("less",)), str(tree), (str(below),)) == {"less": "4", "libc": "3"}


def test_a_step_without_a_status_installed_nothing(tmp_path: Path):
    below = dpkg(tmp_path / "below", apt="1")
    (tmp_path / "tree").mkdir()
    assert installed.find_installed(Packages(names=("apt",)), str(tmp_path / "tree"), (str(below),)) == {}
    assert installed.find_installed(Files(contents={}), str(tmp_path / "tree"), (str(below),)) == {}


def test_commands_install_by_pip_and_npm_too(tmp_path: Path):
    site = tmp_path / "opt/venv/lib/python3.13/site-packages"
    (site / "Typing_Extensions-4.15.0.dist-info").mkdir(parents=True)
    modules = tmp_path / "usr/local/lib/node_modules"
    for name in ("typescript", "@angular/cli"):
        (modules / name).mkdir(parents=True)
        (modules / name / "package.json").write_text('{"version": "5.9.3"}')
    (modules / ".package-lock.json").write_text("{}")
    assert installed.find_installed(Run(commands=("x",)), str(tmp_path), ()) == {
        "npm:@angular/cli": "5.9.3",
        "npm:typescript": "5.9.3",
        "pip:typing-extensions": "4.15.0",
    }


def test_what_an_image_put_in_their_places_is_neither_waited_for_nor_followed(tmp_path: Path):
    host = dpkg(tmp_path / "host", secret="1")
    modules = host / "usr/lib/node_modules/secret"
    modules.mkdir(parents=True)
    (modules / "package.json").write_text('{"version": "1"}')
    for number, hostile in enumerate(("pipe", "file", "directory", "modules")):
        tree = tmp_path / str(number)
        (tree / "var/lib").mkdir(parents=True)
        (tree / "usr/lib").mkdir(parents=True)
        match hostile:
            case "pipe":
                (tree / "var/lib/dpkg").mkdir()
                os.mkfifo(tree / "var/lib/dpkg/status")
            case "file":
                (tree / "var/lib/dpkg").mkdir()
                (tree / "var/lib/dpkg/status").symlink_to(host / "var/lib/dpkg/status")
            case "directory":
                (tree / "var/lib/dpkg").symlink_to(host / "var/lib/dpkg")
            case "modules":
                (tree / "usr/lib/node_modules").symlink_to(host / "usr/lib/node_modules")
        assert installed.find_installed(Run(commands=("x",)), str(tree), (str(tree),)) == {}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "{}", "1"])
def test_an_invalid_package_json_is_ignored(tmp_path: Path, text: str):
    package = tmp_path / "usr/lib/node_modules/odd"
    package.mkdir(parents=True)
    (package / "package.json").write_text(text)
    assert installed.find_installed(Run(commands=("x",)), str(tmp_path), ()) == {}


def test_another_version_than_the_lock_s_is_an_error_that_names_both():
    step = Packages(names=("less",), pins={"less": "1", "libc": "2"})
    installed.check_pins(step, {"less": "1", "libc": "2"})
    with pytest.raises(BakeFailed) as caught:
        installed.check_pins(step, {"less": "3", "libc": "2", "tree": "4"})
    assert caught.value.details.splitlines() == [
        "less: locked 1, offered 3",
        "tree: locked nothing, offered 4",
    ]
    assert "devbox update less tree" in caught.value.remedy


def test_edited_commands_may_bring_more_or_less_but_nothing_else():
    step = Run(commands=("pip install flask", "pip install x"), pins={"pip:flask": "1", "pip:gone": "1"})
    installed.check_pins(step, {"pip:flask": "1", "pip:requests": "2"})
    with pytest.raises(BakeFailed) as caught:
        installed.check_pins(step, {"pip:flask": "2", "pip:requests": "2"})
    assert caught.value.details == "pip:flask: locked 1, offered 2"
