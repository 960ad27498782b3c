"""Output of `recipe ls` and `recipe show`, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devbox.cli import main, output

OWN = 'description = "Mine"\n[[steps]]\nop = "bootstrap"\ndistribution = "debian"\nsuite = "trixie"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "devbox.toml").write_text('[dev]\nrecipe = "no such recipe"\n')
    (tmp_path / "recipes").mkdir()
    for name, text in {"mine": OWN, "redis": OWN, "broken": OWN + "nonsense = 1\n"}.items():
        (tmp_path / f"recipes/{name}.toml").write_text(text)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.run(words) == 0
    return capsys.readouterr().out


def test_the_list_marks_the_project_s_own_and_survives_a_broken_one(project: Path, capsys: pytest.CaptureFixture[str]):
    rows = {line.split()[0]: line for line in printed(capsys, "-C", str(project), "recipe", "ls").splitlines()}
    assert rows["mine"].endswith("Mine (yours)")
    assert rows["redis"].endswith("Mine (yours, overrides the shipped recipe)")
    assert "✗" in rows["broken"]
    assert "nonsense" in rows["broken"]
    assert "3.8 … 3.14" in rows["python"]


def test_the_list_as_data(project: Path, capsys: pytest.CaptureFixture[str]):
    rows = {row["name"]: row for row in json.loads(printed(capsys, "-C", str(project), "recipe", "ls", "--json"))}
    assert (rows["redis"]["own"], rows["redis"]["shadows"]) == (True, True)
    assert rows["postgres"]["versions"] == ["13", "15", "17"]
    assert (rows["postgres"]["default"], rows["postgres"]["service"], rows["postgres"]["tool"]) == ("17", True, True)


def test_outside_of_projects_there_are_those_of_devbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shown = printed(capsys, "-C", str(tmp_path), "recipe", "show", "mariadb")
    for part in ("shipped with devbox", '"11.8"', "3306", "MYSQL_PWD", '[service.mariadb]\n  recipe = "mariadb"'):
        assert part in shown


def test_a_recipe_as_data(capsys: pytest.CaptureFixture[str]):
    found = json.loads(printed(capsys, "recipe", "show", "redis", "--json"))
    assert found["service"]["exports"] == {"REDIS_URL": "redis://redis:6379/0"}
    assert found["tool"] == ["redis-cli"]
    assert found["parameters"][0]["choices"] == ["6", "7", "8"]


@pytest.mark.parametrize("words", [["recipe", "show"], ["recipe", "show", "nide"], ["recipe", "fly"]])
def test_a_mistake_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main.run(words) == 2
    assert "→" in capsys.readouterr().err


def test_recipe_alone_shows_its_commands(capsys: pytest.CaptureFixture[str]):
    shown = printed(capsys, "recipe")
    assert "ls" in shown
    assert "show" in shown


def test_a_last_column_wraps_at_the_terminal_s_width():
    rows = [("a", "one two three four five six"), ("bcd", "")]
    assert output.align_columns(rows, width=25) == ["a    one two three four", "     five six", "bcd"]
    assert output.align_columns(rows) == ["a    one two three four five six", "bcd"]
