"""`add` and `rm` keep the file's mode and links, and refuse what is not a package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.commands import packages
from devbox.errors import EnvFileError, UsageError
from devbox.project import Project, open_project

FILE = '[dev]\nrecipe = "debian"\n[service.db]\nrecipe = "redis"\npackages = ["less"]\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("DEVBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEVBOX_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "shop"
    root.mkdir()
    (root / "devbox.toml").write_text(FILE)
    return open_project(str(root))


def read(project: Project) -> str:
    return Path(project.root, project.env_file).read_text()


def test_the_table_is_dev_unless_another_one_is_named(project: Project):
    assert packages.add(project, ("git", "git")) == ("dev", ("git",))
    assert packages.add(project, ("git",)) == ("dev", ())
    assert packages.add(project, ("vim",), table="db") == ("service.db", ("vim",))
    assert 'packages = ["git"]' in read(project)
    assert 'packages = ["less", "vim"]' in read(project)
    assert packages.remove(project, ("less", "vim")) == "service.db"
    assert packages.remove(project, ("git",)) == "dev"


@pytest.mark.parametrize("name", ["python@3.12", "git=1", "A", "-x", 'git"]\n[service.x]', ""])
def test_what_is_not_a_package_name_is_refused(project: Project, name: str):
    with pytest.raises(UsageError, match="invalid package"):
        packages.add(project, (name,))
    assert read(project) == FILE


def test_a_container_is_not_a_package(project: Project):
    with pytest.raises(UsageError, match="db is a container") as caught:
        packages.remove(project, ("db",))
    assert caught.value.remedy == "devbox down db"


def test_packages_of_different_tables_are_removed_one_at_a_time(project: Project):
    packages.add(project, ("git",))
    with pytest.raises(UsageError, match="has all of git, less"):
        packages.remove(project, ("git", "less"))
    assert packages.remove(project, ("less",)) == "service.db"


def test_mode_and_links_of_the_file_stay(project: Project):
    path = Path(project.root, "devbox.toml")
    path.chmod(0o640)
    packages.add(project, ("git",))
    assert path.stat().st_mode & 0o777 == 0o640
    inner = path.rename(path.with_name("inner.toml"))
    path.symlink_to("inner.toml")
    packages.add(project, ("vim",))
    assert path.is_symlink()
    assert "vim" in inner.read_text()
    assert sorted(os.listdir(project.root)) == ["devbox.toml", "inner.toml"]


def test_a_link_out_of_the_project_is_not_followed(project: Project, tmp_path: Path):
    path = Path(project.root, "devbox.toml")
    other = path.rename(tmp_path / "other.toml")
    path.symlink_to(other)
    with pytest.raises(EnvFileError, match="link out of the project"):
        packages.add(project, ("vim",))
    assert other.read_text() == FILE
