"""`add` and `rm` keep the file's mode and links, and refuse what is not a package."""

from __future__ import annotations

import concurrent.futures
import os
from pathlib import Path

import pytest

from devbox.commands import packages
from devbox.envfile import edit
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


def test_edits_at_once_are_all_kept(project: Project):
    Path(project.root, "devbox.toml").write_text("".join(f'[base.b{at}]\nrecipe = "debian"\n' for at in range(6)))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda at: packages.add(project, ("git",), table=f"b{at}"), range(6)))
    assert [new for _, new in done] == [("git",)] * 6
    assert read(project).count('recipe = "debian"\npackages = ["git"]\n') == 6


def test_a_change_by_another_program_meanwhile_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch):
    edited = '[dev]\nrecipe = "debian"\n# by an editor\n'

    def change_file(text: str, *args: object, **options: object) -> tuple[str, tuple[str, ...]]:
        Path(project.root, "devbox.toml").write_text(edited)
        return f"{text}# by devbox\n", ("git",)

    monkeypatch.setattr(edit, "add_packages", change_file)
    with pytest.raises(EnvFileError, match="changed by another program"):
        packages.add(project, ("git",))
    assert read(project) == edited


def test_drafts_of_killed_edits_are_removed(project: Project):
    Path(project.root, ".devbox.toml.123.devbox-draft").write_text("")
    packages.add(project, ("git",))
    assert os.listdir(project.root) == ["devbox.toml"]


def test_packages_of_the_local_file_are_not_removed_from_the_shared_one(project: Project):
    Path(project.root, "devbox.local.toml").write_text('[dev]\npackages = ["git"]\n')
    with pytest.raises(EnvFileError, match=r"cannot edit \[dev\]"):
        packages.remove(project, ("git",))
    assert read(project) == FILE


def test_an_edit_that_makes_the_file_invalid_names_the_file(project: Project):
    local = '[base.x]\nimage = "debian"\n[service.db]\ncommand = ["${absent}"]\n'
    Path(project.root, "devbox.toml").write_text(FILE)
    Path(project.root, "devbox.local.toml").write_text("")
    load = packages.load

    def load_draft(start: str, *, file: str) -> object:
        if file != "devbox.toml":
            Path(project.root, "devbox.local.toml").write_text(local)
        return load(start, file=file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "load", load_draft)
        with pytest.raises(EnvFileError, match=r"^devbox\.toml would be invalid"):
            packages.add(project, ("git",))
    assert read(project) == FILE
    assert "devbox-draft" not in "".join(os.listdir(project.root))


@pytest.mark.parametrize(("name", "sentence"), [("", "has the package ''"), ("; id", "package name '; id'")])
def test_messages_can_be_pasted(project: Project, name: str, sentence: str):
    with pytest.raises(UsageError) as caught:
        (packages.add if name else packages.remove)(project, (name,))
    assert caught.value.sentence.endswith(sentence)
    assert "search ;" not in caught.value.remedy
