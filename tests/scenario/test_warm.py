"""The warm path: which modules commands load when everything already runs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.machine import Box, wait_until

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


def idle(box: Box, project: Path) -> None:
    """Up again and again until that is all that it does: files written just now are not believed to be settled."""
    wait_until(lambda: "devbox.flow" not in loaded(box, project, "up"), what="an up that does not look")


@pytest.mark.as_root
def test_an_up_that_had_nothing_to_do_is_not_thought_through_again(box: Box):
    project = box.project(
        '[dev]\nrecipe = "debian"\nports = [8000]\nsetup = { run = ["cp input /srv/"], inputs = ["input"] }\n'
    )
    (project / "input").write_text("1")
    first = box.ok("up", cwd=project)
    idle(box, project)
    again = box.run("up", cwd=project)
    assert again.stdout.decode() == first
    assert "nothing to do" in again.stderr.decode()

    (project / "input").write_text("2")
    assert "setup dev" in box.run("up", cwd=project).stderr.decode()
    idle(box, project)
    killed = box.ps(project)["dev"]["pid"]
    os.kill(killed, signal.SIGKILL)
    box.ok("up", cwd=project)
    assert box.ps(project)["dev"]["pid"] not in (killed, None)
    idle(box, project)
    box.ok("stop", "dev", cwd=project)
    assert "start dev" in box.run("up", cwd=project).stderr.decode()
    idle(box, project)
    (project / "devbox.toml").write_text('[dev]\nrecipe = "debian"\nenv = { NEW = "1" }\n')
    assert "replace" in box.run("up", cwd=project).stderr.decode()
    idle(box, project)
    box.ok("down", cwd=project)
    assert "start dev" in box.run("up", cwd=project).stderr.decode()


@pytest.mark.as_root
def test_a_warm_tool_costs_what_exec_costs(box: Box):
    project = box.project('[tool.t]\nrecipe = "debian"\ncommand = ["true"]\n')
    box.ok("tool", "t", cwd=project)
    found = loaded(box, project, "tool", "t")
    assert not found & (PARSERS | {"ctypes", "dataclasses", "json", "typing"})
    assert "devbox.flow" not in found
