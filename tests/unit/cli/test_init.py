"""`init` creates a project and never overwrites one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from devbox.cli import init, main
from devbox.errors import UsageError


@pytest.mark.parametrize("name", init.list_templates())
def test_every_template_is_a_project(name: str, tmp_path: Path):
    assert main.run(["init", str(tmp_path / "deep" / "app"), "--template", name]) == 0
    made = tmp_path / "deep" / "app"
    assert tomllib.loads((made / "devbox.toml").read_text())["dev"]
    assert "\n[dev]\n" in (made / "devbox.toml").read_text()
    assert not (made / "template.txt").exists()


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "app.py").write_text("mine")
    with pytest.raises(UsageError, match=r"app\.py already exists"):
        init.copy("python-web", str(tmp_path))
    assert (tmp_path / "app.py").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["app.py"]


def test_an_unknown_template_names_the_known_ones(tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        init.copy("pyton-web", str(tmp_path / "app"))
    assert "python-web" in caught.value.remedy
    assert not (tmp_path / "app").exists()


def test_the_current_directory_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main.run(["-C", str(tmp_path), "init"]) == 0
    assert (tmp_path / "devbox.toml").exists()
    assert "devbox up" in capsys.readouterr().err


def test_what_programs_left_in_a_template_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    template = tmp_path / "templates" / "mine"
    for place in ("node_modules", ".ruff_cache", "src/__pycache__"):
        (template / place).mkdir(parents=True)
        (template / place / "left").write_text("")
    (template / "template.txt").write_text("mine")
    (template / "src" / "app.py").write_text("")
    monkeypatch.setattr(init, "find_data_dir", lambda name: str(tmp_path / name))
    assert init.copy("mine", str(tmp_path / "app")) == ["src"]
    assert [path.name for path in (tmp_path / "app" / "src").iterdir()] == ["app.py"]
