"""Commands that users of other container tools expect: top, stats, port, wait, events, inspect, cp, ls, and options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect
import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

FILE = '''
[dev]
recipe = "debian"
needs = ["db"]
volumes = { work = "/work" }
ports = ["8000"]
command = """
echo begun
perl -MIO::Socket -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 8000); sleep' &
wait
"""

[service.db]
recipe = "debian"
command = "trap 'exit 3' TERM; sleep infinity & wait"
volumes = { data = "/data" }

[service.extra]
recipe = "debian"
command = "sleep infinity"
profiles = ["more"]
'''


@pytest.fixture
def project(any_box: Box) -> Path:
    path = any_box.project(FILE)
    any_box.ok("up", cwd=path)
    return path


def test_processes_and_their_use(any_box: Box, project: Path):
    rows = any_box.json("top", cwd=project)
    assert {row["container"] for row in rows} == {"dev", "db"}
    assert all(row["pid"] and row["host_pid"] and row["memory"] for row in rows)
    (shell,) = (row for row in rows if "echo begun" in row["command"])
    (server,) = (row for row in rows if row["command"].startswith("perl"))
    assert server["parent"] == shell["pid"]
    any_box.ok("exec", "db", "sh", "-c", "timeout 3 sh -c 'while :; do :; done' >/dev/null 2>&1 &", cwd=project)
    used = {row["container"]: row for row in any_box.json("stats", cwd=project)}
    assert used["db"]["cpu_percent"] > 20 > used["dev"]["cpu_percent"]
    assert 0 < used["dev"]["memory"] < 1 << 30
    assert any_box.ok("stats", "db", "--no-stream", cwd=project).splitlines()[1].startswith("db")
    assert any_box.run("top", "none", cwd=project).returncode == 2


def test_ports_and_details(any_box: Box, project: Path):
    host = any_box.ps(project)["dev"]["ports"][0]["host"]
    assert any_box.ok("port", cwd=project) == f"dev 8000/tcp -> 127.0.0.1:{host}\n"
    assert any_box.ok("port", "dev", "8000", cwd=project) == f"127.0.0.1:{host}\n"
    assert any_box.run("port", "dev", "81", cwd=project).returncode == 1
    seen = json.loads(any_box.ok("inspect", "db", cwd=project))
    assert (seen["name"], seen["state"], "trap" in str(seen["file"])) == ("db", "running", True)
    image = json.loads(any_box.ok("inspect", "service.db", cwd=project))
    assert image["digest"] == seen["digest"]
    any_box.ok("tag", "dev", "team/app:1", cwd=project)
    assert "docker.io/team/app:1" in any_box.ok("images", cwd=project)
    assert any_box.json("history", "team/app:1", cwd=project)
    any_box.ok("image", "rm", "team/app:1", cwd=project)


def test_waiting_and_events(any_box: Box, project: Path):
    with (
        _start(any_box, project, "wait", "db", "dev") as waiting,
        _start(any_box, project, "events", "--json") as watching,
    ):
        _check_waiting_and_events(any_box, project, waiting, watching)
    assert any_box.run("wait", "none", cwd=project).returncode == 2


def _check_waiting_and_events(
    any_box: Box, project: Path, waiting: subprocess.Popen[bytes], watching: subprocess.Popen[bytes]
) -> None:
    wait_until(lambda: _is_waiting(waiting) and _is_waiting(watching))
    any_box.ok("stop", "dev", cwd=project)
    any_box.ok("stop", "db", cwd=project)
    told = dict(line.split() for line in waiting.communicate(timeout=60)[0].decode().splitlines())
    assert told["db"] == "3"
    assert waiting.returncode == 3
    wait_until(lambda: any_box.ps(project)["db"]["state"] == "exited")
    time.sleep(1)  # longer than `events` waits between two looks
    os.killpg(watching.pid, signal.SIGINT)
    events = [json.loads(line) for line in watching.communicate(timeout=60)[0].splitlines()]
    assert ("db", "exited 3") in {(each["container"], each["event"]) for each in events}


@contextmanager
def _start(box: Box, project: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running command, which is interrupted at the end."""
    program = subprocess.Popen(
        box.argv(*words), cwd=project, env=box.environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGINT)
        program.communicate(timeout=60)


def _is_waiting(program: subprocess.Popen[bytes]) -> bool:
    """Whether it, or the program that a switch of users became, waits between two looks."""
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    return any("nanosleep" in Path(f"/proc/{pid}/wchan").read_text() for pid in (program.pid, *children))


def test_files_are_copied_both_ways(any_box: Box, project: Path, tmp_path: Path):
    there = project / "there"
    (there / "deep").mkdir(parents=True)
    (there / "deep/file").write_text("one\n")
    (there / "run.sh").write_text("#!/bin/sh\n")
    (there / "run.sh").chmod(0o755)
    (there / "link").symlink_to("deep/file")
    any_box.ok("cp", "there", "db:/tmp", cwd=project)
    assert any_box.ok("exec", "db", "cat", "/tmp/there/link", cwd=project) == "one\n"
    any_box.ok("cp", "there/deep/file", "db:/tmp/renamed", cwd=project)
    any_box.ok("cp", "there/.", "db:/data", cwd=project)
    assert any_box.ok("exec", "db", "ls", "/data", cwd=project).split() == ["deep", "link", "run.sh"]
    back = project / "back"
    any_box.ok("cp", "db:/tmp/there", "back", cwd=project)
    assert (back / "link").readlink() == Path("deep/file")
    assert (back / "deep/file").read_text() == "one\n"
    assert os.access(back / "run.sh", os.X_OK)
    assert (back / "run.sh").stat().st_uid == project.stat().st_uid
    any_box.ok("cp", "db:/tmp/there/.", "content", cwd=project)
    assert sorted(os.listdir(project / "content")) == ["deep", "link", "run.sh"]
    any_box.ok("cp", "db:/tmp/renamed", "back", cwd=project)
    assert (back / "renamed").read_text() == "one\n"
    lost = any_box.run("cp", "db:/none", "back", cwd=project)
    assert (lost.returncode, b"No such file" in lost.stderr) == (1, True)
    assert any_box.run("cp", "a", "b", cwd=project).returncode == 2
    any_box.ok("stop", "db", cwd=project)
    stopped = any_box.run("cp", "db:/tmp", "back", cwd=project)
    assert stopped.stderr == b"devbox: db is not running\n  \xe2\x86\x92 devbox up db\n"


def test_everything_on_the_host_is_listed(any_box: Box, project: Path):
    rows = any_box.json("ls", cwd=project.parent)
    (row,) = (row for row in rows if row["project"] == str(project))
    assert (row["stage"], sorted(row["running"])) == ("", ["db", "dev"])
    assert row["memory"] > 0
    any_box.ok("down", cwd=project)
    assert not [row for row in any_box.json("ls", cwd=project) if row["project"] == str(project)]
    assert [row for row in any_box.json("ls", "--all", cwd=project) if row["project"] == str(project)]


def test_options_of_up_and_down(any_box: Box, project: Path):
    before = {name: row["pid"] for name, row in any_box.ps(project).items()}
    any_box.ok("down", "dev", cwd=project)
    assert set(any_box.ps(project)) == {"db"}
    assert "start dev" in any_box.ok("up", "--dry-run", cwd=project)
    any_box.ok("stop", "db", cwd=project)
    any_box.ok("up", "--no-deps", "dev", cwd=project)
    assert {name for name, row in any_box.ps(project).items() if row["pid"]} == {"dev"}
    any_box.ok("up", "--build", cwd=project)
    now = {name: row["pid"] for name, row in any_box.ps(project).items()}
    assert set(now) == set(before)
    any_box.ok("up", "--force-recreate", "db", cwd=project)
    assert any_box.ps(project)["db"]["pid"] != now["db"]
    any_box.ok("up", "--profile", "more", cwd=project)
    assert "extra" in any_box.ps(project)
    any_box.ok("down", "db", "-v", "-y", cwd=project)
    assert [each["name"] for each in any_box.json("volume", "ls", cwd=project)] == ["work"]
    told = any_box.ok("bake", cwd=project)
    assert "dev" in told
    assert b"devbox bake db" in any_box.run("build", "db", cwd=project).stderr


def test_data_is_lost_only_after_a_yes(box: Box):
    project = box.project(FILE)
    box.ok("up", cwd=project)

    def ask(answer: str, *words: str) -> tuple[int, str]:
        shown = pexpect.spawn(
            sys.executable, ["-m", "devbox", *words], cwd=str(project), env=box.environment(), encoding="utf-8"
        )
        shown.expect(r"\[y/N\]", timeout=60)
        shown.sendline(answer)
        shown.expect(pexpect.EOF, timeout=60)
        shown.close()
        return shown.exitstatus or 0, str(shown.before)

    code, said = ask("n", "down", "-v")
    assert (code, "nothing was removed" in said) == (1, True)
    assert len(box.ps(project)) == 2
    assert b"will require --yes" not in box.run("down", "-v", "-y", cwd=project).stderr
    box.ok("up", cwd=project)
    assert b"will require --yes" in box.run("down", "-v", cwd=project).stderr
    assert box.json("volume", "ls", cwd=project) == []
