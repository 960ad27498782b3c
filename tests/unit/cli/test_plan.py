"""`config`, `plan`, and the format of addresses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devbox.cli import addresses, main
from devbox.cli.plan import format_settings, format_steps
from devbox.model.plan import Plan, Step


def test_settings_are_one_a_line_with_their_origin():
    values = {"project": {"name": "shop"}, "dev": {"packages": ["git"], "env": {}}}
    assert format_settings(values, {}) == ['project.name = "shop"', 'dev.packages = ["git"]', "dev.env = {}"]
    lines = format_settings(values, {"dev": "devbox.toml:3", "dev.packages": "devbox.toml:4"})
    assert [line.partition("#")[2].strip() for line in lines] == ["default", "devbox.toml:4", "devbox.toml:3"]


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / "devbox.toml").write_text('[dev]\nrecipe = "debian"\npackages = ["git"]\n')
    return str(tmp_path)


def test_config_is_lines_or_one_document(project: str, capsys: pytest.CaptureFixture[str]):
    assert main.run(["-C", project, "config", "--origin"]) == 0
    assert any(
        line.startswith("dev.packages") and line.endswith("devbox.toml:3")
        for line in capsys.readouterr().out.splitlines()
    )
    assert main.run(["-C", project, "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dev"]["packages"] == ["git"]


def test_the_schema_needs_no_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main.run(["-C", str(tmp_path), "config", "--schema"]) == 0
    assert "dev" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    ("role", "bound", "container", "protocol", "shown"),
    [
        ("dev", "127.0.0.1", 3000, "tcp", "http://127.0.0.1:8000"),
        ("glue", "0.0.0.0", 3000, "tcp", "http://127.0.0.1:8000"),
        ("dev", "::", 3000, "tcp", "http://[::1]:8000"),
        ("dev", "127.0.0.1", 53, "udp", "127.0.0.1:8000"),
        ("service", "127.0.0.1", 5432, "tcp", "127.0.0.1:8000"),
        ("service", "127.0.0.1", 80, "tcp", "http://127.0.0.1:8000"),
    ],
)
def test_addresses(role: str, bound: str, container: int, protocol: str, shown: str):
    port = {"address": bound, "host": 8000, "container": container, "protocol": protocol}
    assert addresses.format_address(role, port) == shown


def test_without_a_dev_the_first_that_publishes_is_meant():
    assert addresses.choose_container({"db": [], "web": [80], "dev": []}) == "dev"
    assert addresses.choose_container({"db": [], "web": [80], "mail": [25]}) == "web"
    assert addresses.choose_container({}) == "dev"


def test_a_long_reason_is_folded_at_a_terminal_and_whole_elsewhere():
    reason = "not baked yet: debian trixie; packages python3, python3-venv"
    plan = Plan(steps=(Step(op="bake", resource="dev", reason=reason), Step(op="start", resource="dev", reason="x")))
    assert format_steps(plan) == [f"bake dev   {reason}", "start dev  x"]
    assert format_steps(plan, width=50) == [
        "bake dev   not baked yet: debian trixie; packages",
        "           python3, python3-venv",
        "start dev  x",
    ]
    assert format_steps(plan, width=20) == format_steps(plan)
