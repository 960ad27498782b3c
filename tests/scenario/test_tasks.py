"""Tasks: dependencies first and in parallel, each once, the first failure's exit code, nothing left after Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

# `left` and `right` each wait for the other: they end only when they run side by side.
FILE = """
[dev]
recipe = "debian"
[tasks]
left = "touch left; until test -e right; do sleep 0.05; done; echo from left"
right = "touch right; until test -e left; do sleep 0.05; done; echo from right"
both = { run = "printf '<%s>'", needs = ["left", "right"] }
fail = "echo oops; exit 7"
after = { run = "touch never", needs = ["fail"] }
wait = "touch waiting; exec sleep 54321"
waits = { run = "true", needs = ["wait"] }
[tasks.build]
run = "cat src/* > made; echo built"
inputs = ["src/*"]
outputs = ["made"]
"""


@pytest.fixture
def project(box: Box) -> Path:
    made = box.project(FILE, files={"src/a": "1"})
    box._give(made)
    box.ok("up", cwd=made)
    return made


def test_what_a_task_needs_runs_side_by_side_and_arguments_are_its_own(box: Box, project: Path):
    done = box.run("run", "both", "--", "a b", "--x", cwd=project, timeout=120)
    assert done.returncode == 0, done.stderr
    *needs, own = done.stdout.decode().splitlines()
    assert sorted(needs) == ["left  | from left", "right | from right"]
    assert own == "<a b><--x>"


def test_the_first_failure_is_the_exit_code_and_ends_the_rest(box: Box, project: Path):
    done = box.run("run", "after", cwd=project)
    assert done.returncode == 7
    assert done.stdout == b"fail | oops\n"
    assert not (project / "never").exists()
    assert box.run("run", "fail", cwd=project).returncode == 7


def test_a_task_whose_inputs_are_the_same_is_passed_over(box: Box, project: Path):
    def build(*words: str) -> str:
        return box.ok("run", "build", *words, cwd=project)

    assert build() == "built\n"
    done = box.run("run", "build", cwd=project)
    assert done.stdout == b""
    assert b"1 input" in done.stderr
    assert b"--force" in done.stderr
    assert build("--force") == "built\n"
    (project / "src/a").write_text("2")
    assert build() == "built\n"
    (project / "made").unlink()
    done = box.run("run", "build", cwd=project)
    assert done.stdout == b"built\n"
    assert b"missing output: made" in done.stderr
    assert build("--", "x") == "built x\n", "with arguments it is another call"


def test_ctrl_c_ends_what_a_task_needs(box: Box, project: Path):
    process = subprocess.Popen(
        box.argv("run", "waits"),
        cwd=project,
        env=box.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until((project / "waiting").exists, what="the task")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    listed = ["sh", "-c", "cat /proc/[0-9]*/cmdline"]
    wait_until(lambda: "54321" not in box.ok("exec", "--", *listed, cwd=project), what="the task's end")
