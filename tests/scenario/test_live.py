"""The live display in real terminals: the final screen, what is never shown, and the screen after Ctrl-C."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.machine import Box
from support.recording import Recording, record, shown

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
packages = ["{package}"]
needs = ["helper"]
[dev.setup]
run = ["for n in 1 2 3 4; do echo installing part $n; sleep 0.2; done; {end}"]
[service.helper]
from = "dev"
command = "sleep infinity"
"""
STARTS = ("✓ ", "✗ ", "· ", "  ", "dev", "devbox: ", "installing", *"⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")


def up(box: Box, project: Path, columns: int, **how: object) -> Recording:
    environment = box.environment()
    environment.pop("NO_COLOR")
    environment.pop("CI", None)
    return record(box.argv("up"), columns=columns, cwd=project, env=environment, **how)


@pytest.mark.parametrize(("columns", "package"), [(80, "file"), (120, "lsof")])
@pytest.mark.as_root
def test_a_run_leaves_a_line_a_step_and_no_line_ever_wraps(box: Box, columns: int, package: str):
    recording = up(box, box.project(FILE.format(package=package, end="true")), columns)
    assert recording.exit_code == 0
    for screen in recording.screens():
        for line in shown(screen):
            assert line.startswith(STARTS), f"a line that begins somewhere else: {line!r}"
    everything = "".join(text for _, text in recording.events)
    assert "━" in everything, "no progress bar was shown"
    assert "installing part 4" in everything
    left = shown(recording.last())
    steps = [" ".join(line.split()[1:3]) for line in left if line.startswith("✓ ")]
    assert sorted(steps) == [
        "bake dev",
        "bake service.helper",
        "network app",
        "ready dev",
        "setup dev",
        "start dev",
        "start helper",
    ]
    assert not any("steps ·" in line for line in left), "the board is gone"
    assert not recording.last().cursor.hidden


@pytest.mark.as_root
def test_a_failed_setup_shows_its_last_lines_once(box: Box):
    recording = up(box, box.project(FILE.format(package="tree", end="false")), 80)
    lines = shown(recording.last())
    assert recording.exit_code == 1
    assert [line for line in lines if line.startswith("✗ setup dev")]
    assert len([line for line in lines if "installing part 4" in line]) == 1
    assert not recording.last().cursor.hidden


@pytest.mark.as_root
def test_an_interrupt_gives_the_cursor_back(box: Box):
    recording = up(
        box,
        box.project(FILE.format(package="tree", end="sleep 100")),
        80,
        interrupt=lambda text: "installing part 4" in text,
    )
    assert recording.exit_code == 130
    assert not recording.last().cursor.hidden
    assert re.fullmatch(r"devbox: interrupted", shown(recording.last())[-1])
