"""Candidates for the word at the cursor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devbox.cli.completion import complete
from devbox.cli.main import run
from devbox.commands.table.index import list_commands
from devbox.errors import UsageError

FILE = """
[base.py]
recipe = "python"
[dev]
from = "py"
needs = ["db"]
[tasks]
lint = "ruff check ."
check = { run = "pytest -q" }
[service.db]
recipe = "postgres"
[tool.sql]
recipe = "postgres"
shims = ["psql", "pg_dump"]
[test]
from = "py"
command = "pytest"
[test.matrix]
python = ["3.9", "3.14"]
pg = ["15", "17"]
exclude = [{ python = "3.9", pg = "17" }]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "devbox.toml").write_text(FILE)
    (tmp_path / "devbox.local.toml").write_text('[service.mine]\nrecipe = "own"\n')
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/own.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(line: str) -> list[str]:
    return [found.partition("\t")[0] for found in complete(line.split(" "))]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("res", ["restart"]),
        ("recipe ", ["ls", "show"]),
        ("logs ", ["dev", "db", "mine"]),
        ("logs db m", ["mine"]),
        ("exec ", ["dev", "db", "mine"]),
        ("exec db ", []),
        ("exec db -- p", []),
        ("run ", ["lint", "check"]),
        ("run --base ", ["py"]),
        ("test --shell ", ["python=3.9,pg=15", "python=3.14,pg=15", "python=3.14,pg=17"]),
        ("test --shell python=3.9", ["python=3.9,pg=15"]),
        ("run --service=d", ["--service=db"]),
        ("run --service = d", ["db"]),
        ("up --progress p", ["plain"]),
        ("--progress=pl", ["--progress=plain"]),
        ("up --det", ["--detach"]),
        ("up --detach --det", []),
        ("exec -e A=1 --en", ["--env"]),
        ("logs -f d", ["dev", "db"]),
        ("completion f", ["fish"]),
        ("init ", [":directories"]),
        ("-f ", [":files"]),
        ("no-such ", []),
        ("logs --no-such=", []),
    ],
)
def test_words(line: str, found: list[str]):
    assert [value for value in values(line) if value != "--help"] == found


def test_the_first_word_is_any_command():
    first = {name.split()[0] for name in list_commands()}
    assert set(values("")) == first


def test_recipes_and_templates():
    assert {"own", "postgres"} <= set(values("recipe show "))
    assert {"bare", "python-web"} <= set(values("init -t "))


def test_a_project_named_on_the_line(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    assert values("run ") == []
    assert values(f"-C {project} run ") == ["lint", "check"]
    assert values(f"run -C {project} ") == ["lint", "check"]
    assert values(f"-f {project}/devbox.toml run ") == ["lint", "check"]


def test_a_broken_file_completes_commands_all_the_same(project: Path):
    (project / "devbox.toml").write_text("[dev\n")
    assert values("logs d") == []
    assert values("log") == ["logs", "login", "logout"]


def test_every_candidate_says_what_it_is():
    assert complete(["logs", "db"]) == ["db\trecipe postgres"]


def test_it_is_light():
    code = "import sys; from devbox.cli import main; main.run(['__complete', 'logs', '']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "typer", "rich", "jinja2", "devbox.flow", "ctypes", "dataclasses"} & set(loaded)


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]):
    assert run(["completion", "tcsh"]) == UsageError.exit_code
    assert "devbox completion bash" in capsys.readouterr().err


def test_a_tool_is_named_or_one_of_its_commands_and_then_takes_files():
    assert {"sql", "psql", "pg_dump"} <= set(values("tool "))
    assert values("tool p") == ["psql", "pg_dump"]
    assert values("tool psql -") == [":files"]
    assert values("tool psql x --pro") == [":files"]
