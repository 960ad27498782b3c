"""Tools: started on demand, kept warm for the next call, transparent to the caller."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pexpect
import pytest
from support.machine import Box, wait_until
from support.terminals import sized

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
workspace = "/src"
[tool.t]
from = "dev"
command = ["sh", "-c"]
needs = ["db"]
shims = ["sh", "cat"]
env = { OWN = "1" }
[service.db]
from = "dev"
command = ["sleep", "infinity"]
"""


@pytest.fixture
def project(box: Box) -> Path:
    return box.project(FILE, files={"sub/data": "x"})


def test_a_tool_starts_on_use_with_what_it_needs_and_stays(any_box: Box):
    box, project = any_box, any_box.project(FILE, files={"sub/data": "x"})
    done = box.run("tool", "t", "echo $OWN; pwd; cat data; touch made; exit 7", cwd=project / "sub")
    assert (done.returncode, done.stdout) == (7, b"1\n/src/sub\nx")
    assert (project / "sub/made").stat().st_uid == project.stat().st_uid
    rows = box.ps(project)
    assert {name: row["role"] for name, row in rows.items()} == {"t": "tool", "db": "service"}
    assert box.run("tool", "t", "exit 0", cwd=project).stderr == b""
    assert box.ps(project)["t"]["pid"] == rows["t"]["pid"]
    assert box.run("plan", cwd=project).returncode == 3, "dev is not up"
    box.ok("up", cwd=project)
    assert box.run("plan", cwd=project).returncode == 0, "a tool that stands is nothing to take away"
    box.ok("stop", "t", cwd=project)
    assert box.ok("tool", "t", "echo again", cwd=project) == "again\n"
    box.ok("down", cwd=project)
    assert box.json("ps", cwd=project) == []


def test_streams_are_the_caller_s_own_to_the_byte(box: Box, project: Path):
    data = bytes(range(256)) * 1000 + b"\r\n\r"
    done = box.run("tool", "cat", "-", cwd=project, input=data)
    assert done.stdout == data
    done = box.run("tool", "cat", "--", "-n", "--help", cwd=project)
    assert done.returncode == 1
    assert b"cat: -n: No such file" in done.stderr, "words behind the name are the tool's own"


def test_a_changed_file_replaces_the_tool_at_its_next_use(box: Box, project: Path):
    assert box.ok("tool", "t", "echo $OWN", cwd=project) == "1\n"
    (project / "devbox.toml").write_text(FILE.replace('OWN = "1"', 'OWN = "two"'))
    assert box.ok("tool", "t", "echo $OWN", cwd=project) == "two\n"


def test_what_a_tool_needs_is_started_again_when_it_was_stopped(box: Box, project: Path):
    box.ok("tool", "t", "true", cwd=project)
    box.ok("stop", "db", cwd=project)
    box.ok("tool", "t", "true", cwd=project)
    assert box.ps(project)["db"]["state"] == "running"


def test_a_signal_reaches_the_tool(box: Box, project: Path):
    box.ok("tool", "t", "true", cwd=project)
    script = "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        box.argv("tool", "t", script), cwd=project, env=box.environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == b"got\n"
    assert process.returncode == 3


@pytest.mark.as_root
def test_a_tool_has_the_caller_s_terminal(box: Box, project: Path):
    box.ok("tool", "t", "true", cwd=project)
    program, *words = box.argv("tool", "t", "test -t 0 && stty size")
    seen = pexpect.spawn(program, words, cwd=str(project), env=box.environment(), **sized(31, 99), timeout=20)
    seen.expect(pexpect.EOF)
    assert b"31 99" in seen.before


def test_a_shim_runs_the_tool_from_every_directory(box: Box, project: Path):
    place = box.ok("tool", "--shims", cwd=project).strip()
    assert sorted(os.listdir(place)) == ["cat", "sh"]
    python = box.argv().index("-m")  # the way into the box, without devbox itself
    for cwd, directory in ((project / "sub", "/src/sub"), (Path("/"), "/src")):
        done = subprocess.run(
            [*box.argv()[: python - 1], f"{place}/sh", "-c", "pwd"],
            cwd=cwd,
            env=box.environment(),
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == f"{directory}\n"
    (project / "devbox.toml").write_text(FILE.replace('["sh", "cat"]', '["cat"]'))
    box.ok("up", "db", cwd=project)
    assert os.listdir(place) == ["cat"]
    box.ok("down", "-v", cwd=project)
    wait_until(lambda: not os.path.exists(place), what="the shims to go with the data")
