"""The warm path stays warm: what commands load when everything is up, in the process that serves the person."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

PARSERS = {"jinja2", "pydantic", "pydantic_core", "rich", "typer"}
PROBE = (
    "import sys; from devbox.cli import main; code = main.run(sys.argv[1:]); "
    "print('LOADED', *sys.modules, file=sys.stderr); sys.exit(code)"
)


def loaded(box: Box, project: Path, *words: str) -> set[str]:
    """The modules of a devbox process that ran these words, which must succeed."""
    python = box.argv()[: box.argv().index("-m")]
    done = subprocess.run(
        [*python, "-c", PROBE, *words], cwd=project, env=box.environment(), capture_output=True, text=True, check=True
    )
    return set(done.stderr.rpartition("LOADED")[2].split())


@pytest.mark.as_root
def test_an_up_with_nothing_to_do_parses_nothing(box: Box):
    project = box.from_template("bare")
    box.ok("up", cwd=project)
    assert not loaded(box, project, "up") & PARSERS
    assert not loaded(box, project, "exec", "--", "true") & (PARSERS | {"ctypes", "dataclasses", "json", "typing"})


@pytest.mark.as_root
def test_a_warm_tool_costs_what_exec_costs(box: Box):
    project = box.project('[tool.t]\nrecipe = "debian"\ncommand = ["true"]\n')
    box.ok("tool", "t", cwd=project)
    found = loaded(box, project, "tool", "t")
    assert not found & (PARSERS | {"ctypes", "dataclasses", "json", "typing"})
    assert "devbox.flow" not in found
