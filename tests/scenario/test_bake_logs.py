"""`logs --build` shows the output of image steps, after failed and after successful bakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

FILE = """
[project]
name = "logged"

[base.tools]
recipe = "debian"

[dev]
from = "tools"
run = ["{command}"]
"""


def logged(box: Box, project: Path, *words: str) -> str:
    return box.ok("logs", "--build", *words, cwd=project)


def test_the_log_of_a_bake_is_found_again(box: Box):
    project = box.project(FILE.format(command="echo said at the bake"))
    box.ok("run", "--", "true", cwd=project)
    told = logged(box, project, "dev")
    assert "==> dev 2/2 run echo said at the bake" in told
    assert "\nsaid at the bake\n" in told
    assert told.splitlines()[-1] == logged(box, project, "dev", "-n", "1").splitlines()[-1]
    box.ok("up", cwd=project)  # by the lock now, and made from the same
    assert logged(box, project, "dev") == told

    (project / "devbox.toml").write_text(FILE.format(command="echo oh no; exit 3"))
    assert box.run("up", cwd=project).returncode == 1
    assert "\noh no\n" in logged(box, project)
    for words, code in ((["nobody"], 2), (["-f"], 2)):
        assert box.run("logs", "--build", *words, cwd=project).returncode == code
