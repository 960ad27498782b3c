"""For keys and files of other tools, the error names devbox's own term."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.resolving import write_project

from devbox.cli import main
from devbox.envfile.document import Document
from devbox.envfile.load import load
from devbox.envfile.problems import _KEYS, _find_model, list_keys
from devbox.errors import EnvFileError


def error(tmp_path: Path, text: str) -> EnvFileError:
    with pytest.raises(EnvFileError) as found:
        load(write_project(str(tmp_path), text))
    return found.value


@pytest.mark.parametrize(
    ("table", "key", "answer"),
    [
        ("[service.db]", "environment = {}", "unknown key `environment` in [service.db]; devbox calls it `env`"),
        ("[dev]", 'depends_on = ["db"]', "unknown key `depends_on` in [dev]; devbox calls it `needs`"),
        ("[dev]", "forwardPorts = [1]", "unknown key `forwardPorts` in [dev]; devbox calls it `ports`"),
        ("[service.db]", "healthcheck = {}", "unknown key `healthcheck` in [service.db]; devbox calls it `health`"),
        ("[dev]", "cap_add = []", 'unknown key `cap_add` in [dev]; isolation = { capabilities = ["NAME"] }'),
        ("", "[services.db]", "unknown key `services`; write one [service.NAME] for each service"),
        ("", "[volumes]", "unknown key `volumes`; a container lists its own:"),
        ("", 'schema = "x"', "unknown key `schema`; for editors, write a comment in the first line"),
        ("[base.x]", "volumes = {}", "unknown key `volumes` in [base.x]; a container lists its own:"),
        ("[dev]", "comand = 1", "unknown key `comand` in [dev]; did you mean command?"),
        ("[project]", "zzzz = 1", "unknown key `zzzz` in [project] (known: description, name, requires)"),
    ],
)
def test_issue9_b14_an_unknown_key_is_answered_with_the_own_term(tmp_path: Path, table: str, key: str, answer: str):
    recipe = 'recipe = "debian"\n' if table.startswith(("[dev", "[service", "[base")) else ""
    found = error(tmp_path, f"{table}\n{recipe}{key}\n")
    assert found.sentence.startswith(answer), found.sentence


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (
            'volumes = ["data:/data"]',
            'invalid value for [dev] volumes: expected a table, got a list; write volumes = { data = "/data" };',
        ),
        ('env = ["A=b"]', 'invalid value for [dev] env: expected a table, got a list; write env = { NAME = "value" }'),
        (
            'limits = "1g"',
            (
                "invalid value for [dev] limits: expected a table, got a string; "
                'write limits = { memory = "1GiB", cpus = 2 }'
            ),
        ),
    ],
)
def test_issue9_b14_a_value_in_another_tool_s_form_is_answered_with_the_own_form(tmp_path: Path, key: str, answer: str):
    found = error(tmp_path, f'[dev]\nrecipe = "debian"\n{key}\n')
    assert found.sentence.startswith(answer), found.sentence


def test_every_own_term_is_a_key_of_some_table():
    tables = (
        ("dev",),
        ("service", "x"),
        ("base", "x"),
        ("test",),
        ("stage", "x"),
        ("image", "process", "x"),
    )
    known = set().union(*(list_keys(_find_model(Document, table)) for table in tables))
    assert set(_KEYS.values()) <= known


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("compose.yaml", "a Compose file"),
        ("docker-compose.yml", "a Compose file"),
        ("devcontainer.json", "a Dev Container file"),
        ("devbox.json", "a file of jetify's devbox"),
        ("Dockerfile", "a Dockerfile"),
        ("x.yml", "a YAML file"),
    ],
)
def test_issue9_b14_another_tool_s_file_is_named(tmp_path: Path, name: str, tool: str):
    (tmp_path / name).write_text("services:\n  db:\n")
    with pytest.raises(EnvFileError) as found:
        load(str(tmp_path), file=name)
    assert found.value.sentence == f"this is {tool}, not an env file of devbox"
    assert found.value.remedy


def test_a_toml_file_of_any_name_is_read(tmp_path: Path):
    (tmp_path / "compose.toml").write_text('[dev]\nrecipe = "debian"\n')
    assert load(str(tmp_path), file="compose.toml").document.dev


@pytest.mark.parametrize("name", ["compose.yaml", ".devcontainer/devcontainer.json", "devbox.json"])
def test_issue9_b14_init_says_what_it_does_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert main.run(["init", str(tmp_path)]) == 0
    assert f"· devbox does not read {name}: " in capsys.readouterr().err
