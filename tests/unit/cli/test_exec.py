"""`exec`, `shell`, `run`: their requests and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.cli import exec, main
from devbox.cli.parser import parse
from devbox.commands.table.index import find
from devbox.errors import BakeFailed, UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project where nothing is up."""
    monkeypatch.setenv("DEVBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEVBOX_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "devbox.toml").write_text('[dev]\nrecipe = "debian"\n')
    return str(tmp_path)


def test_exec_with_nothing_up_is_125_and_names_up(project: str, capsys: pytest.CaptureFixture[str]):
    assert main.run(["-C", project, "exec", "--", "true"]) == 125
    assert "devbox up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["exec"], "devbox exec dev COMMAND"),
        (["exec", "db"], "devbox exec db COMMAND"),
        (["exec", "--"], "dev COMMAND"),
        (["run"], "devbox run TASK"),
        (["run", "lint", "--", "x"], "known: none"),
        (["run", "--base", "py", "lint"], "run -- COMMAND"),
        (["run", "--base", "py", "--service", "db", "--", "x"], ""),
    ],
)
def test_a_missing_command_is_a_usage_error(project: str, capsys, words: list[str], remedy: str):
    assert main.run(["-C", project, *words]) == 2
    assert remedy in capsys.readouterr().err


def test_variables_are_set_or_passed_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE", "own")
    monkeypatch.delenv("ABSENT", raising=False)
    _, args = parse(["exec", "-e", "A=1=2", "-e", "MINE", "-e", "ABSENT", "-e", "EMPTY=", "--", "env"], find)
    assert exec.build_environment(args) == {"A": "1=2", "MINE": "own", "EMPTY": ""}
    _, args = parse(["exec", "-e", "=x", "--", "env"], find)
    with pytest.raises(UsageError, match="invalid value for -e"):
        exec.build_environment(args)


@pytest.mark.parametrize(("words", "source"), [([], "dev"), (["--service", "db"], "db"), (["--base", "py"], "base.py")])
def test_whose_image_a_one_shot_runs(words: list[str], source: str):
    _, args = parse(["run", *words, "--", "x"], find)
    assert exec._choose_source(args) == source


def _can_start_nothing(*_args: object, **_options: object) -> None:
    raise BakeFailed("no mirror answers")


@pytest.mark.parametrize("words", [["run", "lint"], ["run", "--", "true"], ["shell"]])
def test_what_cannot_be_started_is_125_not_the_1_of_a_child(project: str, monkeypatch, capsys, words: list[str]):
    Path(project, "devbox.toml").write_text('[dev]\nrecipe = "debian"\n[tasks]\nlint = "true"\n')
    monkeypatch.setattr("devbox.flow.observe_instance", _can_start_nothing)
    assert main.run(["-C", project, *words]) == 125
    assert "no mirror answers" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["up", "web"], ["shell", "web"]])
def test_a_container_whose_profile_is_off_says_how_it_is_on(project: str, monkeypatch, capsys, words: list[str]):
    monkeypatch.delenv("DEVBOX_PROFILES", raising=False)
    Path(project, "devbox.toml").write_text('[service.web]\nrecipe = "redis"\nprofiles = ["extra"]\n')
    assert main.run(["-C", project, *words]) == 2
    said = capsys.readouterr().err
    assert "web is in the disabled profile extra" in said
    assert "DEVBOX_PROFILES=extra devbox up web" in said
