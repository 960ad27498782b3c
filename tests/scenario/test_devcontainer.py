"""`devbox export devcontainer`, read by the reference implementation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.machine import REPOSITORY, Box, lacking

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

PROGRAM = REPOSITORY / ".venv/npm/node_modules/.bin/devcontainer"


def read(project: Path) -> dict[str, Any]:
    """The configuration as the reference implementation understands it."""
    program = str(PROGRAM) if PROGRAM.exists() else shutil.which("devcontainer")
    if program is None:
        lacking("@devcontainers/cli is not installed (npm)")
    words = [program, "read-configuration", "--workspace-folder", str(project), "--docker-path", "true"]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "SHOP_TOKEN": "t"}, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_reference_implementation_reads_what_is_written(box: Box):
    project = box.from_template("python-web")
    assert box.ok("export", "devcontainer", cwd=project).strip() == f"{project}/.devcontainer/devcontainer.json"
    found = read(project)
    configuration = found["configuration"]
    assert found["workspace"]["workspaceFolder"] == "/workspace"
    assert found["workspace"]["workspaceMount"] == f"source={project},target=/workspace,type=bind"
    assert configuration["image"] == "devbox/app-dev"
    assert configuration["forwardPorts"] == [8000]
    assert configuration["postCreateCommand"] == "( pip install -r requirements.txt )"


@pytest.mark.long
def test_files_that_the_user_wrote_or_moved_stay(box: Box, tmp_path: Path):
    project = box.project('[dev]\nrecipe = "debian"\n', files={".devcontainer/devcontainer.json": "{}\n"})
    assert box.run("export", "devcontainer", cwd=project).returncode == 2
    assert (project / ".devcontainer/devcontainer.json").read_text() == "{}\n"
    assert '"devbox/app-dev"' in box.ok("export", "devcontainer", "--stdout", cwd=project)
    shutil.rmtree(project / ".devcontainer")
    (project / ".devcontainer").symlink_to(tmp_path)
    assert box.run("export", "devcontainer", cwd=project).returncode == 2
    assert list(tmp_path.iterdir()) == []
    (project / ".devcontainer").unlink()
    for _ in range(2):
        box.ok("export", "devcontainer", cwd=project)
