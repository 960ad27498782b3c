"""A failure in one cell: the others finish, each is reported, and nothing keeps running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import procfs
from support.machine import Box, wait_until

pytestmark = [pytest.mark.scenario, pytest.mark.long]

FILE = """
[vars]
what = "good"

[base.os]
recipe = "debian"

[test]
from = "os"
command = "./check ${what}"
limits = { memory = "96MiB" }
timeout = "20s"

[test.matrix]
what = [WHAT]
"""

CHECK = """#!/bin/sh
case "$1" in
good*) echo fine ;;
greedy) perl -e 'my $all = "x" x (1 << 29); print "got it all\\n"' ;;
hanging) echo waiting; sleep 600 ;;
suicidal) kill -9 $$ ;;
orphans) sleep 600 & sleep 600 & exit 0 ;;
missing) exec ./nothing ;;
flaky) test -e /workspace/.git/tried && exit 0; exit 3 ;;
slow) echo started; sleep 4 ;;
esac
"""


def project(box: Box, *what: str, more: str = "", text: str = FILE) -> Path:
    named = ", ".join(f'"{each}"' for each in what)
    path = box.project(text.replace("WHAT", named) + more, "app", {"check": CHECK})
    (path / "check").chmod(0o755)
    return path


def cells(stdout: bytes) -> dict[str, dict[str, Any]]:
    return {cell["axes"]["what"]: cell for cell in json.loads(stdout)["cells"]}


def start(box: Box, path: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        box.argv("test", *words, "--json"),
        cwd=path,
        env=box.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def supervisors(box: Box) -> set[int]:
    return {pid for pid in box.pids() if b"supervisor.supervisor" in procfs.read(pid, "cmdline")}


def _run_of(supervisor: int) -> str:
    """The id of the run that a supervisor manages; "?" if it has ended."""
    words = procfs.read(supervisor, "cmdline").decode().split("\0")
    return words[-2] if len(words) > 1 else "?"


def asleep(box: Box, words: str) -> set[int]:
    """Processes of cells that were called so."""
    found = set()
    for pid in box.pids():
        try:
            if words in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                found.add(pid)
        except OSError:
            continue
    return found


def test_each_failure_is_reported_and_affects_only_its_cell(box: Box):
    path = project(box, "good1", "greedy", "hanging", "suicidal", "orphans", "missing", "good2")
    (path / "devbox.toml").write_text((path / "devbox.toml").read_text().replace('"20s"', '"3s"'))
    done = box.run("test", "-j", "3", "--json", cwd=path)
    assert done.returncode == 1, done.stderr.decode()
    found = cells(done.stdout)
    assert {name: cell["state"] for name, cell in found.items()} == {
        "good1": "passed",
        "greedy": "failed",
        "hanging": "timeout",
        "suicidal": "failed",
        "orphans": "passed",
        "missing": "failed",
        "good2": "passed",
    }
    assert "out of memory (limit 96 MiB)" in found["greedy"]["reason"]
    assert found["hanging"]["reason"] == "timed out after 3 s"
    assert found["suicidal"]["reason"] == "killed by SIGKILL"
    assert supervisors(box) == set()


def test_a_service_that_never_starts_costs_its_cell(box: Box):
    service = '\n[service.db]\nfrom = "os"\ncommand = "test ${what} = good || exit 5; sleep 600"\nrestart = "no"\n'
    service += 'health = { command = "true", start_period = "5s" }\n'
    text = FILE.replace('command = "./check', 'needs = ["db"]\ncommand = "./check')
    path = project(box, "good", "bad", more=service, text=text)
    done = box.run("test", "--json", cwd=path)
    assert done.returncode == 1, done.stderr.decode()
    found = cells(done.stdout)
    assert {name: cell["state"] for name, cell in found.items()} == {"good": "passed", "bad": "error"}
    assert "db" in found["bad"]["reason"]
    assert supervisors(box) == set()


def test_an_image_that_can_not_be_made_costs_its_cells(box: Box):
    text = FILE.replace('from = "os"', 'from = "os"\nrun = ["test ${what} != bad"]')
    path = project(box, "good", "bad", text=text)
    done = box.run("test", "--json", cwd=path)
    assert done.returncode == 1, done.stderr.decode()
    assert {name: cell["state"] for name, cell in cells(done.stdout).items()} == {"good": "passed", "bad": "error"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_and_says_so(box: Box, number: int):
    path = project(box, "good", "hanging", "slow")
    assert box.run("test", "-k", "good", cwd=path).returncode == 0  # what is to be baked is baked
    running = start(box, path, "-j", "2")
    try:
        wait_until(lambda: asleep(box, "sleep 600"), seconds=60, what="a cell hanging")
        os.kill(running.pid, number)
        stdout, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, stderr.decode()
    found = cells(stdout)
    assert found["good"]["state"] == "cached"
    assert found["hanging"]["state"] == "interrupted"
    wait_until(lambda: not supervisors(box), what="nothing left running")


def test_ctrl_c_at_a_terminal(box: Box):
    """Signal the whole process group, including the commands in the cells."""
    path = project(box, "hanging", "slow")
    running = start(box, path, "-j", "2")
    try:
        wait_until(lambda: asleep(box, "sleep 600"), seconds=300, what="a cell hanging")
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, stderr.decode()
    assert cells(stdout)["hanging"]["state"] == "interrupted"


def test_nothing_outlives_a_killed_devbox(box: Box):
    path = project(box, "good", "hanging")
    assert box.run("test", "-k", "good", cwd=path).returncode == 0
    running = start(box, path)
    wait_until(lambda: asleep(box, "sleep 600"), seconds=60, what="a cell hanging")
    running.kill()
    running.communicate()
    wait_until(lambda: not asleep(box, "sleep 600") and not supervisors(box), seconds=30, what="nothing left running")
    code = box.run("test", "-k", "good", "--all", cwd=path).returncode
    assert code == 0, "the next run is as any other"


def test_a_cell_continues_without_its_supervisor(box: Box):
    path = project(box, "slow", "good")
    running = start(box, path, "-j", "2")
    try:
        (slow,) = wait_until(lambda: asleep(box, "sleep 4"), seconds=300, what="the slow cell")
        ours = Path(f"/proc/{slow}/cgroup").read_text()
        killed = [pid for pid in supervisors(box) if _run_of(pid) in ours]
        assert killed, "the supervisor of the cell"
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        stdout, stderr = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 0, stderr.decode()
    assert {cell["state"] for cell in cells(stdout).values()} == {"passed"}
    assert supervisors(box) == set()


COUNTED = r"""
use IO::Socket::INET;
my $socket = IO::Socket::INET->new("cache:6379") or die;
print $socket "INCR tries\r\n";
my ($tries) = <$socket> =~ /(\d+)/;
print "try $tries\n";
exit($tries < 2);
"""


def test_a_flaky_cell_is_green_and_not_cached(box: Box):
    text = FILE.replace("limits", 'needs = ["cache"]\nretries = 2\nlimits').replace("./check ${what}", "perl count.pl")
    path = project(box, "good", text=text, more='\n[service.cache]\nrecipe = "redis"\n')
    (path / "count.pl").write_text(COUNTED)
    for _ in range(2):
        done = box.run("test", "--json", cwd=path)
        assert done.returncode == 0, done.stderr.decode()
        found = cells(done.stdout)["good"]
        assert (found["state"], found["reason"]) == ("flaky", "passed on attempt 2")


@pytest.mark.as_root
def test_a_full_disk_costs_the_cells_that_fill_it(box: Box):
    text = FILE.replace("./check ${what}", "test ${what} = good || dd if=/dev/zero of=big bs=1M count=4000")
    path = project(box, "good", "bad", text=text)
    assert box.run("test", "-k", "good", cwd=path).returncode == 0
    small = f'mount -t tmpfs -o size=64m,mode=0711 tmpfs {box.home}/projects && exec "$@"'
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", small, "sh", *box.argv("test", "--json")]
    done = subprocess.run(argv, cwd=path, env=box.environment(), capture_output=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr.decode()
    found = cells(done.stdout)
    assert found["good"]["state"] in ("passed", "error"), "where no room is left, it could not be run"
    assert found["bad"]["state"] == "failed"
    assert "no space is left" in found["bad"]["reason"]
    assert supervisors(box) == set()
    assert box.run("test", "-k", "good", "--all", cwd=path).returncode == 0
