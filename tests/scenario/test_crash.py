"""After any process is killed at any time, the next command converges, and `down` leaves nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.machine import Box, wait_until
from support.supervisors import kill_for_good

from devbox.isolation import liveness

pytestmark = pytest.mark.scenario


def kill_ups(box: Box, project: Path, *, times: int, within: float, seed: int) -> None:
    """Start `up` and kill it at random moments."""
    moments = random.Random(seed)
    for _ in range(times):
        process = subprocess.Popen(
            box.argv("up"),
            cwd=project,
            env=box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=moments.uniform(0.02, within))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def supervisor_pid(box: Box) -> int:
    """The pid of the one supervisor of this box."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"devbox.isolation.supervisor.supervisor" in command and str(box.home).encode() in command:
                found.append(int(entry.name))
    assert len(found) == 1, found
    return found[0]


def test_up_killed_at_random_moments_when_warm(box: Box):
    project = box.from_template("python-web")
    before = box.footprint()
    box.ok("up", cwd=project)
    for round_ in range(3):
        kill_ups(box, project, times=3, within=1.5, seed=round_)
        box.ok("down", cwd=project, timeout=120)
        assert not box.leftovers(before)
        kill_ups(box, project, times=1, within=1.5, seed=10 + round_)
    box.ok("up", cwd=project)
    assert {row["state"] for row in box.ps(project).values()} == {"running"}
    box.ok("down", "-v", cwd=project)
    assert not box.leftovers(before)


def test_up_killed_at_random_moments_when_cold(boxes: dict[str, Box]):
    """A store of its own: the kills fall into bootstrap, package installation and unpacking."""
    from support.machine import destroy, make_box

    box = make_box("root-crun")
    try:
        project = box.project('[dev]\nrecipe = "debian"\npackages = ["less"]\n')
        before = box.footprint()
        kill_ups(box, project, times=6, within=12, seed=3)
        box.ok("up", cwd=project)
        box.ok("exec", "--", "less", "--version", cwd=project)
        box.ok("down", "-v", cwd=project)
        assert not box.leftovers(before)
    finally:
        destroy(box)


def test_a_killed_supervisor_kills_no_container_and_is_replaced(box: Box):
    project = box.from_template("python-web")
    before = box.footprint()
    box.ok("up", cwd=project)
    running = box.ps(project)
    kill_for_good(supervisor_pid(box))
    wait_until(lambda: all(Path(f"/proc/{row['pid']}").exists() for row in running.values()))
    assert {row["state"] for row in box.ps(project).values()} == {"running"}, "ps tells what still runs"
    box.ok("exec", "--", "true", cwd=project)
    box.ok("up", cwd=project)
    after = box.ps(project)
    assert {name: row["pid"] for name, row in after.items()} == {name: row["pid"] for name, row in running.items()}
    box.ok("down", "-v", cwd=project)
    assert not box.leftovers(before)


def test_issue9_a5_a_container_that_dies_with_its_supervisor_restarts_without_a_command(any_box: Box):
    box = any_box
    project = box.project('[dev]\nrecipe = "debian"\n[service.web]\nfrom = "dev"\ncommand = "sleep 1000"\n')
    box.ok("up", cwd=project)
    before = box.ps(project)
    killed = supervisor_pid(box)
    os.kill(killed, signal.SIGKILL)
    os.kill(before["web"]["pid"], signal.SIGKILL)

    def is_back() -> bool:
        row = box.ps(project)["web"]
        return row["state"] == "running" and row["pid"] != before["web"]["pid"]

    wait_until(is_back, seconds=60, what="the service's return")
    assert supervisor_pid(box) != killed
    assert box.ps(project)["dev"]["pid"] == before["dev"]["pid"]


def test_a_pasta_that_its_supervisor_did_not_live_to_write_down_is_replaced(box: Box):
    project = box.from_template("python-web")
    box.ok("up", cwd=project)
    supervisor = supervisor_pid(box)
    words = Path(f"/proc/{supervisor}/cmdline").read_bytes().decode().split("\0")
    state_file = Path(words[-3]) / words[-2] / "state.json"
    kill_for_good(supervisor)
    wait_until(lambda: not Path(f"/proc/{supervisor}").exists())
    written = json.loads(state_file.read_text())
    pasta = written["egress"]["pid"]
    written["egress"]["pid"] = 2**22 - 1  # the one before it, which has ended
    state_file.write_text(json.dumps(written))
    box.ok("up", cwd=project)
    assert liveness.identify(pasta) is None
    box.ok("down", cwd=project)


def test_down_after_the_supervisor_was_killed_leaves_nothing(box: Box):
    project = box.from_template("python-web")
    before = box.footprint()
    box.ok("up", cwd=project)
    kill_for_good(supervisor_pid(box))
    box.ok("down", cwd=project)
    assert box.json("ps", cwd=project) == []
    assert not box.leftovers(before)


def test_a_crashed_service_is_restarted_and_ps_counts_it(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n\n[service.cache]\nrecipe = "redis"\n')
    box.ok("up", cwd=project)
    first = box.ps(project)["cache"]
    os.kill(first["pid"], signal.SIGKILL)

    def again() -> bool:
        row = box.ps(project)["cache"]
        return row["state"] == "running" and row["pid"] != first["pid"] and row["restarts"] >= 1

    wait_until(again, what="the restart")
    assert box.ok("exec", "cache", "--", "redis-cli", "ping", cwd=project) == "PONG\n"


def test_a_crashing_dev_command_leaves_dev_standing(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\ncommand = "echo about to fall; exit 3"\n')
    box.run("up", "-d", cwd=project)

    def told() -> bool:
        return "about to fall" in box.ok("logs", "dev", cwd=project)

    wait_until(told, what="the crash in the logs")
    row = box.ps(project)["dev"]
    assert row["state"] == "running"
    assert "3" in row["reason"]
    box.ok("exec", "--", "true", cwd=project)


def test_two_ups_at_once_are_one_up(box: Box):
    project = box.from_template("bare")
    box.ok("up", cwd=project)
    box.ok("down", cwd=project)
    started = time.monotonic()
    ups = [
        subprocess.Popen(
            box.argv("up"), cwd=project, env=box.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in ups:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
    assert list(box.ps(project)) == ["dev"]
    assert time.monotonic() - started < 60


JOB = """
[dev]
recipe = "debian"
needs = ["once"]
[service.once]
from = "dev"
kind = "job"
command = "echo x >>/count/runs"
volumes = { count = "/count" }
[service.reader]
from = "dev"
command = "exec sleep infinity"
volumes = { count = "/count" }
"""


def test_a_job_that_is_done_is_not_done_again_when_its_supervisor_was_killed(box: Box):
    project = box.project(JOB)
    box.ok("up", cwd=project)
    started = box.ps(project)["dev"]["pid"]
    for _ in range(2):
        pid = supervisor_pid(box)
        kill_for_good(pid)
        wait_until(lambda pid=pid: not is_running(pid), seconds=60, what="the end of the supervisor")
        box.ok("up", cwd=project)
    rows = box.ps(project)
    assert (rows["once"]["state"], rows["once"]["exit_code"]) == ("exited", 0)
    assert rows["dev"]["pid"] == started
    assert box.ok("exec", "reader", "--", "cat", "/count/runs", cwd=project) == "x\n"


def is_running(pid: int) -> bool:
    """True if a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_issue9_b10_one_shots_killed_while_they_start_leave_no_process(any_box: Box):
    """Their runtime is killed with them, at any moment; without limits they have no cgroup to find them by."""
    project = any_box.project('[dev]\nrecipe = "debian"\n')
    any_box.ok("up", cwd=project)
    moments = random.Random(9)
    clients = []
    for _ in range(25):
        client = subprocess.Popen(
            any_box.argv("run", "--", "sleep", "1000"),
            cwd=project,
            env=any_box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        clients.append(client.pid)
        time.sleep(moments.uniform(0.02, 0.15))
        client.kill()
        client.wait()

    def left() -> list[str]:
        return [process for process in any_box.footprint() if "/.devbox/init -P" in process or "sleep 1000" in process]

    wait_until(lambda: not left(), seconds=10, what="the end of every one-shot")


# Runs devbox with the arguments, and kills it when it asks the supervisor to start a command after its setup.
KILLED_AFTER_SETUP = """
import os, signal, sys
from devbox.isolation.client import Client
call = Client.call
def call_until_setup(self, verb, **fields):
    if verb == "setup_done":
        os.kill(os.getpid(), signal.SIGKILL)
    return call(self, verb, **fields)
Client.call = call_until_setup
import runpy
runpy.run_module("devbox", run_name="__main__")
"""


def run_killed_up(box: Box, project: Path, program: str) -> None:
    """Run `up` with a Python program that kills it."""
    argv = box.argv("up", "-d")
    module = argv.index("-m")
    up = subprocess.run(
        [*argv[:module], "-c", program, *argv[module + 2 :]],
        cwd=project,
        env=box.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert up.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), up  # runuser exits with the latter


def test_a_command_starts_although_up_was_killed_after_its_setup(box: Box):
    unprepared = '[dev]\nrecipe = "debian"\ncommand = "echo started; exec sleep 1000"\n'
    file = f'{unprepared}[dev.setup]\nrun = ["echo once >> /ran"]\n'
    project = box.project(file)

    def kill_up() -> None:
        run_killed_up(box, project, KILLED_AFTER_SETUP)

    def count_starts() -> int:
        return box.ok("logs", "dev", "--tail", "99", cwd=project).count("started")

    kill_up()
    assert b"setup" in box.run("plan", cwd=project).stdout
    box.ok("up", "-d", cwd=project)
    wait_until(lambda: count_starts() == 1, what="the command")
    assert box.ok("exec", "--", "cat", "/ran", cwd=project) == "once\nonce\n"  # it may not have ended
    assert box.ok("plan", cwd=project).strip() == "nothing to do"

    box.ok("down", cwd=project)
    kill_up()
    (project / "devbox.toml").write_text(unprepared)
    box.ok("up", "-d", cwd=project)  # although the setup is no longer in the file
    wait_until(lambda: count_starts() == 2, what="the command without a setup")

    box.ok("down", cwd=project)
    (project / "devbox.toml").write_text(file)
    kill_up()  # the setup ran in an earlier container, whose writable layer is kept
    box.ok("up", "-d", cwd=project)
    wait_until(lambda: count_starts() == 3, what="the command in a new container")
    assert box.ok("plan", cwd=project).strip() == "nothing to do"


KILLED_IN_SETUP = """
import os, signal, sys
from devbox.engines.native.engine import NativeEngine
run = NativeEngine.run_setup
def run_until_output(self, instance, name, argv, *, on_line):
    return run(self, instance, name, argv, on_line=lambda _: os.kill(os.getpid(), signal.SIGKILL))
NativeEngine.run_setup = run_until_output
import runpy
runpy.run_module("devbox", run_name="__main__")
"""


def test_an_interrupted_setup_does_not_run_next_to_the_next_one(any_box: Box):
    script = "echo begin | tee -a /ran; sleep 2; echo end >> /ran"
    project = any_box.project(f'[dev]\nrecipe = "debian"\n[dev.setup]\nrun = ["{script}"]\n')
    run_killed_up(any_box, project, KILLED_IN_SETUP)
    any_box.ok("up", "-d", cwd=project)
    time.sleep(1)  # the first setup would end now
    assert any_box.ok("exec", "--", "cat", "/ran", cwd=project).split() == ["begin", "begin", "end"]
