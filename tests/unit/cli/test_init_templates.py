"""Each template is a valid project, can be promoted if it is an application, and its README names existing commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from support.resolving import resolve_env

from devbox.cli import init, parser
from devbox.commands.table import index
from devbox.convert import scaffold
from devbox.envfile.load import load

TEMPLATES = [*init.list_templates()]
WITHOUT_RELEASE = ("bare", "python-lib")
_CODE = re.compile(r"^```\n(.*?)^```$|`(devbox [^`]+)`", re.DOTALL | re.MULTILINE)


def list_commands(text: str) -> list[str]:
    """Return the devbox commands in the code of a page, without comments and shell operators."""
    code = "\n".join("".join(found) for found in _CODE.findall(text))
    lines = re.split(r"\n|&&|\$\(|;", code)
    return [re.split(r"[#>)]| \| ", line)[0].strip() for line in lines if line.strip().startswith("devbox ")]


@pytest.fixture(params=TEMPLATES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    init.copy(request.param, str(tmp_path / request.param))
    return tmp_path / request.param


def test_the_file_is_valid_with_every_cell_and_stage(project: Path):
    text = (project / "devbox.toml").read_text()
    document = tomllib.loads(text)
    spec = resolve_env(load(str(project)))
    assert spec.containers["dev"]
    assert bool(spec.stages) == (project.name not in WITHOUT_RELEASE), "devbox promote works in each application"
    axes = document.get("test", {}).get("matrix", {})
    for axis, value in [(axis, value) for axis, values in axes.items() for value in values]:
        (project / "devbox.toml").write_text(scaffold.replace_variable(text, axis, value))
        assert f'"{value}"' in (project / "devbox.toml").read_text()
        resolve_env(load(str(project)))


def test_the_commands_of_the_page_exist(project: Path):
    readme = project / "README.md"
    text = readme.read_text() if readme.exists() else ""
    comments = "".join(f"`{line}`\n" for line in re.findall(r"devbox [a-z].*", (project / "devbox.toml").read_text()))
    found = list_commands(text)
    assert found or project.name == "bare"
    for line in found:
        command, _args = parser.parse(shlex.split(line)[1:], index.find)
        assert command
    tasks = set(re.findall(r"devbox run ([a-z]\w*)", text + comments))
    assert tasks <= set(resolve_env(load(str(project))).tasks)


def test_the_summary_is_one_line():
    for name, summary in init.list_templates().items():
        assert summary, name
        assert "\n" not in summary
        assert len(summary) <= 120
