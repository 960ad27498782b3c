"""Forked children and programs, and reports of their failures."""

from __future__ import annotations

import os
import signal

import pytest

from devbox.errors import CommandFailed, EngineError, HostError
from devbox.host import programs
from devbox.isolation import forks, liveness
from devbox.isolation.types import ProcessRef


def test_a_childs_error_is_raised_in_the_parent():
    def work() -> None:
        raise HostError("no tea", details="the pot is empty", remedy="boil water")

    with pytest.raises(EngineError) as error:
        forks.run_in_child(work)

    assert (error.value.sentence, error.value.details, error.value.remedy) == (
        "no tea",
        "the pot is empty",
        "boil water",
    )


def test_a_system_calls_error_names_the_path():
    with pytest.raises(EngineError, match=r"No such file or directory .*/no/such/file"):
        forks.run_in_child(lambda: os.close(os.open("/no/such/file", os.O_RDONLY)))


def test_a_child_that_becomes_a_program_has_plain_signals():
    """Python ignores SIGPIPE; a program it becomes must not."""

    def become() -> None:
        os.execv("/bin/sh", ["sh", "-c", "grep -q 'SigIgn:.0000000000000000' /proc/self/status"])

    assert forks.wait(forks.fork(become)) == 0


def test_a_killed_child_is_a_status():
    child = forks.fork(lambda: os.kill(os.getpid(), signal.SIGKILL))

    assert os.waitstatus_to_exitcode(forks.wait(child)) == -signal.SIGKILL


def test_a_process_is_known_by_pid_and_start():
    me = liveness.identify(os.getpid())

    assert me is not None
    assert liveness.is_alive(me)
    assert not liveness.is_alive(ProcessRef(me.pid, me.start_time + 1))


def test_a_zombie_is_not_alive():
    child = forks.fork(lambda: None)
    process = liveness.identify(child.pid)
    forks.read_failure(child.error_fd)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert liveness.identify(child.pid) is None
    assert process is None or not liveness.is_alive(process)
    os.waitpid(child.pid, 0)


def test_a_program_gets_its_input_and_gives_its_output():
    assert programs.call(["/bin/sh", "-c", "cat; echo more >&2"], purpose="talk", text=b"text ") == b"text more\n"


def test_a_failing_program_says_what_it_said():
    with pytest.raises(CommandFailed, match="cannot fly: sh exited with code 3") as error:
        programs.call(["/bin/sh", "-c", "echo too heavy; exit 3"], purpose="fly")

    assert error.value.details == "too heavy\n"


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "_SYSTEM_PATH", "")
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostError) as error:
        programs.find("pasta")

    assert error.value.remedy == "sudo apt-get install passt"
