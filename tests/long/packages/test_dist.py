"""Packages: reproducible, complete, and without errors of the distributions' own checkers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from support import packages
from support.machine import lacking

from devbox.commands.table.index import list_commands
from devbox.host.version import VERSION

pytestmark = pytest.mark.long


def require(program: str) -> None:
    if not shutil.which(program):
        lacking(f"{program} is not installed")


def test_two_builds_are_byte_identical(dist: Path, tmp_path: Path):
    again = packages.build_all(tmp_path / "again")
    first, second = ({path.name: path.read_bytes() for path in place.iterdir()} for place in (dist, again))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("distribution", packages.DISTRIBUTIONS, ids=lambda each: each.name)
def test_lintian_finds_no_error_and_no_warning(dist: Path, distribution):
    require("lintian")
    (deb,) = dist.glob(f"*~{distribution.name}_*.deb")
    argv = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", str(deb)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package for Debian 13."""
    (deb,) = dist.glob("*~debian13_*.deb")
    place = tmp_path_factory.mktemp("deb")
    subprocess.run(["dpkg-deb", "-x", str(deb), str(place)], check=True)
    return place


def test_every_command_has_a_man_page_without_mistakes(unpacked: Path):
    require("mandoc")
    subprocess.run(
        ["gunzip", "-r", str(unpacked / "usr/share/man/man1")], check=True
    )  # mandoc reads no compressed files
    pages = {path.name: path for path in (unpacked / "usr/share/man/man1").iterdir()}
    names = {f"devbox-{name.replace(' ', '-')}.1" for name in list_commands()}
    assert pages.keys() == names | {"devbox.1"}
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, pages.values())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == ""
    for page in pages.values():
        done = subprocess.run(["man", "--warnings", "-l", str(page)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), page.name


def test_the_wheel_and_the_sdist_are_complete(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    shared = f"devbox_pipeline-{VERSION}.data/data/share"
    for name in (
        "devbox/data/site/index.html",
        "devbox/data/site/search.json",
        "devbox/data/templates/bare/devbox.toml",
        "devbox/data/recipes/python.toml",
        f"{shared}/man/man1/devbox.1",
        f"{shared}/bash-completion/completions/devbox",
        f"{shared}/zsh/site-functions/_devbox",
        f"{shared}/fish/vendor_completions.d/devbox.fish",
        f"devbox_pipeline-{VERSION}.data/scripts/devbox",
    ):
        assert name in names
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert f"devbox_pipeline-{VERSION}/packaging/hatch_build.py" in archive.getnames()


def test_pip_installs_the_wheel_with_consistent_dependencies(wheel: Path, tmp_path: Path):
    venv.create(tmp_path / "v", with_pip=True)
    for argv in (("install", "--quiet", str(wheel)), ("check",)):
        done = subprocess.run([tmp_path / "v/bin/pip", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "v/share/man/man1/devbox-up.1").exists()
    assert "gray.html" in read([tmp_path / "v/bin/devbox", "docs", "gray", "--path"])


def test_uv_tool_installs_the_wheel(wheel: Path, tmp_path: Path):
    env = {**os.environ, "UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    argv = [sys.executable, "-m", "uv", "tool", "install", "--quiet", "--python", sys.executable, str(wheel)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read([tmp_path / "bin/devbox", "--version"]) == f"devbox {VERSION}\n"


def test_pipx_installs_the_wheel_with_its_man_pages(wheel: Path, tmp_path: Path):
    names = {"PIPX_HOME": "home", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"}
    env = {**os.environ, **{name: str(tmp_path / place) for name, place in names.items()}}
    argv = [sys.executable, "-m", "uv", "tool", "run", "--python", sys.executable, "pipx", "install", str(wheel)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read([tmp_path / "bin/devbox", "--version"]) == f"devbox {VERSION}\n"
    assert (tmp_path / "man/man1/devbox.1").exists()


def read(argv: list[str | Path]) -> str:
    """The output of a program that must succeed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, check=True).stdout
