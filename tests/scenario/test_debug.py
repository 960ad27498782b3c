"""`devbox debug`: inspect the processes, sockets, files and system calls of a container without a shell."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Box, lacking, wait_until

pytestmark = pytest.mark.scenario

FILE = """
[service.web]
dockerfile = "Dockerfile"
health = false
"""
# One static program and nothing else: no shell, no C library, no /proc tools.
DOCKERFILE = 'FROM scratch\nCOPY httpd /srv/httpd\nENTRYPOINT ["/srv/httpd", "-f", "-p", "9000"]\n'


def up(box: Box) -> Path:
    """A project whose only container has no shell, up."""
    for program in ("buildah", "busybox"):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")
    project = box.project(FILE, files={"Dockerfile": DOCKERFILE})
    shutil.copy(shutil.which("busybox") or "", project / "httpd")
    box._give(project)
    box.ok("up", cwd=project)
    return project


def processes(command: str) -> list[int]:
    """The host's processes with exactly this command line, without the devbox process that has it as an argument."""
    listed = subprocess.run(["ps", "axo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in listed.splitlines())
    return [int(row[0]) for row in rows if row[2:] == [command] and not row[1].startswith("Z")]


@contextlib.contextmanager
def begun(box: Box, project: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A devbox that has not ended yet."""
    running = subprocess.Popen(box.argv(*words), cwd=project, env=box.environment(), stdin=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_a_container_without_a_shell_shows_itself(box: Box):
    project = up(box)
    assert box.run("exec", "web", "--", "/bin/sh", cwd=project).returncode == 127
    pid = box.ps(project)["web"]["pid"]

    assert "/srv/httpd -f -p 9000" in box.ok("debug", "web", "--tool", "ps", cwd=project)
    sockets = box.ok("debug", "web", "--tool", "ss", cwd=project)
    assert ":9000" in sockets
    assert "httpd" in sockets, "and whose they are"
    done = box.run("debug", "web", "--", "timeout", "-s", "INT", "2", "strace", "-p", "1", cwd=project)
    assert b"Process 1 attached" in done.stderr
    done = box.run("debug", "web", "--", "timeout", "-s", "INT", "2", "gdb", "-q", "-batch", "-p", "1", cwd=project)
    assert b"in ?? ()" in done.stdout + done.stderr
    assert box.ok("debug", "web", "--", "ls", "/proc/1/root/srv", cwd=project) == "httpd\n"

    assert box.run("debug", "web", "--", "sh", "-c", "exit 7", cwd=project).returncode == 7
    assert box.run("debug", "web", "--", "no-such-program", cwd=project).returncode == 127
    assert box.ps(project)["web"]["pid"] == pid
    assert box.ps(project)["web"]["state"] == "running"


def test_issue9_b10_processes_left_by_a_debug_session_are_killed_with_it(any_box: Box):
    box = any_box
    project = up(box)
    leave = "env -i setsid sleep 98765 >/dev/null 2>&1 & until pgrep -x sleep; do :; done"
    box.ok("debug", "web", "--", "sh", "-c", leave, cwd=project)
    wait_until(lambda: not processes("sleep 98765"), what="the end of what was left")

    with begun(box, project, "debug", "web", "--", "env", "-i", "sleep", "87654") as looking:
        wait_until(lambda: processes("sleep 87654"), what="the look")
        looking.kill()
    wait_until(lambda: not processes("sleep 87654"), what="the end of a look whose client was killed")
    assert box.ps(project)["web"]["state"] == "running"


def test_issue9_b10_a_killed_debug_session_leaves_others_running(box: Box):
    project = up(box)
    with begun(box, project, "debug", "web", "--", "sleep", "76543") as other:
        wait_until(lambda: processes("sleep 76543"), what="the other look")
        with begun(box, project, "debug", "web", "--", "sleep", "65432") as looking:
            wait_until(lambda: processes("sleep 65432"), what="the look")
            looking.kill()
        wait_until(lambda: not processes("sleep 65432"), what="the end of the look")
        assert processes("sleep 76543")
        assert other.poll() is None
        other.kill()
    wait_until(lambda: not processes("sleep 76543"), what="the end of the other look")


def test_issue9_b10_a_one_shot_ends_with_its_killed_client(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n')
    box.ok("up", cwd=project)
    with begun(box, project, "run", "--", "env", "-i", "sleep", "54321") as client:
        wait_until(lambda: processes("sleep 54321"), what="the one-shot")
        client.kill()
    wait_until(lambda: not processes("sleep 54321"), what="the end of a one-shot whose client was killed")


def test_only_debug_may_trace_processes(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n')
    box.ok("up", cwd=project)
    bounds = {
        name: int(box.ok(*words, "--", "sh", "-c", "grep CapBnd /proc/self/status", cwd=project).split()[1], 16)
        for name, words in {"exec": ("exec",), "run": ("run",), "debug": ("debug", "dev")}.items()
    }
    traces = {name for name, bound in bounds.items() if bound >> 19 & 1}
    assert traces == {"debug"}


def test_debug_may_use_a_tool_of_the_file(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n[tool.peek]\nfrom = "dev"\ncommand = ["readlink"]\n')
    box.ok("up", cwd=project)
    shown = box.ok("debug", "--tool", "peek", "--", "/proc/1/exe", cwd=project)
    assert shown == "/.devbox/init\n"


def test_a_container_that_does_not_run_cannot_be_debugged(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n')
    done = box.run("debug", cwd=project)
    assert done.returncode == 125
    assert b"dev is not running" in done.stderr
    done = box.run("debug", "--tool", "nope", cwd=project)
    assert done.returncode == 2
    assert b"strace" in done.stderr, "what there is"
