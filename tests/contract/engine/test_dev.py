"""The dev container keeps running when its command crashes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from contract.engine.backend import Backend, needs
from contract.engine.test_lifecycle import until

from devbox.engines import capabilities
from devbox.errors import NotReady
from devbox.model.container import Health, Setup

STANDING = ("sleep", "infinity")
SETUP = Setup(commands=("true",), inputs=())


@needs(capabilities.SetupRecorder)
def test_the_command_waits_for_the_setup(backend: Backend) -> None:
    backend.network("dev")
    backend.up("dev", *STANDING, supervised=("sh", "-c", "touch /ran; exec sleep 1000"), setup=SETUP, keep_top=True)
    assert backend.sh("dev", "ls -d /ran 2>/dev/null || echo held") == ["held"]
    backend.engine.complete_setup(backend.instance, "dev", setup_key="k")
    until(lambda: backend.sh("dev", "ls -d /ran 2>/dev/null || echo held") == ["/ran"])


def test_a_crash_of_the_command_is_observed_and_the_container_keeps_running(backend: Backend) -> None:
    backend.network("dev")
    backend.start("dev", *STANDING, supervised=("sh", "-c", "echo broken; exit 3"))
    first = backend.seen("dev")
    until(lambda: backend.seen("dev").restarts >= 2)
    now = backend.seen("dev")
    assert (now.state, now.pid, now.exit_code) == ("running", first.pid, 3)
    assert "exit code 3" in now.reason
    assert "broken" in backend.log("dev")


def test_issue9_b7_a_command_that_keeps_crashing_is_not_ready(backend: Backend) -> None:
    backend.network("dev")
    backend.start("dev", *STANDING, supervised=("sh", "-c", "exit 3"))
    with pytest.raises(NotReady, match=r"dev keeps crashing: command exited: exit code 3, \d+ restarts"):
        backend.engine.wait_ready(backend.instance, "dev")


def test_a_command_that_recovers_has_no_reason_to_complain(backend: Backend) -> None:
    backend.network("dev")
    backend.start("dev", *STANDING, supervised=("sh", "-c", "test -e /fixed || exit 1; exec sleep 1000"))
    until(lambda: backend.seen("dev").restarts >= 1)
    backend.sh("dev", "touch /fixed")
    until(lambda: backend.seen("dev").reason == "")


def test_the_command_is_asked_to_end_before_its_container(backend: Backend) -> None:
    backend.network("dev")
    command = ("sh", "-c", "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    backend.up("dev", *STANDING, supervised=command)
    until(lambda: "up" in backend.log("dev"))
    began = time.monotonic()
    backend.engine.stop(backend.instance, "dev")
    assert time.monotonic() - began < 4
    assert "saved" in backend.log("dev")


@needs(capabilities.SetupRecorder)
def test_setup_done_again_starts_the_command_again(backend: Backend) -> None:
    backend.network("dev")
    command = ("sh", "-c", "echo start; exec sleep 1000")
    backend.up("dev", *STANDING, supervised=command, setup=SETUP, keep_top=True)
    for times in (1, 2):
        backend.engine.complete_setup(backend.instance, "dev", setup_key=f"k{times}")
        until(lambda times=times: backend.log("dev").count("start") == times)
    assert backend.seen("dev").state == "running"


@needs(capabilities.SetupRecorder)
def test_a_command_started_again_is_probed_again(backend: Backend) -> None:
    backend.network("dev")
    command = (
        "sh",
        "-c",
        "rm -f /up; trap 'sleep 0.2; exit' TERM; echo start; sleep 0.3; touch /up; sleep 99 & wait",
    )
    health = Health(command=("test", "-e", "/up"))
    backend.up("dev", *STANDING, supervised=command, setup=SETUP, keep_top=True, health=health)
    backend.engine.complete_setup(backend.instance, "dev", setup_key="k1")
    assert backend.engine.wait_ready(backend.instance, "dev").health == "healthy"
    backend.engine.complete_setup(backend.instance, "dev", setup_key="k2")
    assert backend.engine.wait_ready(backend.instance, "dev").health == "healthy"
    until(lambda: backend.log("dev").count("start") == 2)


@needs(capabilities.SetupRecorder)
@needs(capabilities.WorkloadControl)
def test_a_restarted_container_does_not_await_its_setup_again(backend: Backend) -> None:
    backend.network("dev")
    backend.up("dev", *STANDING, setup=SETUP, keep_top=True)
    assert backend.seen("dev").awaits_setup
    backend.engine.rerun(backend.instance, "dev")
    assert backend.seen("dev").awaits_setup
    backend.engine.complete_setup(backend.instance, "dev", setup_key="k")
    backend.engine.rerun(backend.instance, "dev")
    assert not backend.seen("dev").awaits_setup


RUNTIMES = pytest.mark.parametrize("runtime", ["crun", "runc"])


def running(backend: Backend, name: str, seconds: str) -> int:
    """Count the processes of a container that run `sleep` with this duration."""
    return int(backend.sh(name, f"grep -lzx '[{seconds[0]}]{seconds[1:]}' /proc/[0-9]*/cmdline 2>/dev/null | wc -l")[0])


INTERRUPTED = "sleep 6662 & (trap '' TERM; exec sleep 6663) & setsid sleep 6664 & sh -c 'sleep 6665; true'; true"


@needs(capabilities.SetupRecorder)
@RUNTIMES
@pytest.mark.parametrize(
    ("number", "kill"), [(signal.SIGKILL, os.kill), (signal.SIGKILL, os.killpg), (signal.SIGHUP, os.killpg)]
)
def test_an_interrupted_setup_ends_before_the_next_one(
    backend: Backend, runtime: str, number: int, kill: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the command has put into other sessions, but not a user's or what a finished command has left."""
    monkeypatch.setenv("DEVBOX_RUNTIME", runtime)
    backend.network("dev")
    backend.up("dev", *STANDING, setup=SETUP, keep_top=True)
    backend.engine.run_setup(backend.instance, "dev", ("sh", "-c", "setsid sleep 6661 >/dev/null 2>&1 &"), on_line=str)
    interrupted = os.fork()
    if not interrupted:
        try:
            os.setpgid(0, 0)
            backend.engine.run_setup(backend.instance, "dev", ("sh", "-c", INTERRUPTED), on_line=str)
        finally:
            os._exit(0)
    until(lambda: running(backend, "dev", "6665") == 1)
    kill(interrupted, number)
    os.waitpid(interrupted, 0)
    backend.sh("dev", "sleep 6666 >/dev/null 2>&1 &")
    backend.engine.begin_setup(backend.instance, "dev")
    assert [running(backend, "dev", f"666{last}") for last in range(1, 7)] == [1, 0, 0, 0, 0, 1]


@RUNTIMES
def test_processes_left_by_a_crashed_command_are_killed_before_the_restart(
    backend: Backend, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also processes that ignore SIGTERM, but not those that users started in the container."""
    monkeypatch.setenv("DEVBOX_RUNTIME", runtime)
    backend.network("dev")
    script = (
        "sleep 7771 & (trap '' TERM; exec sleep 7772) & echo begun; sleep 0.3; test -e /fixed || kill -9 $$; sleep 7773"
    )
    backend.up("dev", *STANDING, supervised=("sh", "-c", script))
    backend.sh("dev", "sleep 7774 >/dev/null 2>&1 &")
    until(lambda: backend.seen("dev").restarts >= 1)
    backend.sh("dev", "touch /fixed")
    until(lambda: running(backend, "dev", "7773") == 1)
    assert [running(backend, "dev", seconds) for seconds in ("7771", "7772", "7774")] == [1, 1, 1]


@needs(capabilities.WorkloadControl)
@RUNTIMES
def test_a_command_is_started_again_without_what_it_had_started(
    backend: Backend, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVBOX_RUNTIME", runtime)
    backend.network("dev")
    script = "sleep 7771 & (trap '' TERM; exec sleep 7772) & echo begun; sleep 7773"
    backend.up("dev", *STANDING, supervised=("sh", "-c", script))
    until(lambda: running(backend, "dev", "7773") == 1)
    backend.engine.rerun(backend.instance, "dev")
    until(lambda: backend.log("dev").count("begun") == 2)
    until(lambda: running(backend, "dev", "7773") == 1)
    assert [running(backend, "dev", seconds) for seconds in ("7771", "7772")] == [1, 1]


@pytest.mark.parametrize(("runtime", "user"), [("crun", "root"), ("crun", "nobody"), ("runc", "root")])
def test_a_probe_that_is_given_up_leaves_nothing(
    backend: Backend, runtime: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVBOX_RUNTIME", runtime)
    backend.network("dev")
    probe = "echo >> /tmp/tries; sleep 5551 & trap '' TERM; sleep 5552; true"
    health = Health(command=("sh", "-c", probe), timeout=0.5, interval=0.1, start_period=0.1)
    backend.start("dev", health=health, user=user)
    until(lambda: int(backend.sh("dev", "cat /tmp/tries 2>/dev/null | wc -l")[0]) >= 4)
    assert running(backend, "dev", "5551") <= 1
    assert running(backend, "dev", "5552") <= 1
    assert "no answer in 0.5 s" in not_ready(backend, "dev")


def not_ready(backend: Backend, name: str) -> str:
    with pytest.raises(NotReady) as raised:
        backend.engine.wait_ready(backend.instance, name)
    return raised.value.sentence
