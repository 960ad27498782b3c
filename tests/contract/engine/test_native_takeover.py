"""A new supervisor adopts exactly the containers that still run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until
from contract.engine.test_native_crash import kill_supervisor
from support.machine import lacking

from devbox.errors import CannotRun
from devbox.host.paths import Paths
from devbox.isolation import cgroups, liveness, namespaces, state
from devbox.isolation.exec import run_in_container
from devbox.model.container import Health

REAPS_LATE = """import os, sys
os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
print(flush=True)
sys.stdin.read()
os.wait()"""
WAITS = 'echo in; read answer; echo "$answer"; exit 7'


def rewrite(native: Backend, paths: Paths, **changes: object) -> state.InstanceState:
    """Change the state file of a killed supervisor."""
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    state.StateFile(paths, native.instance.id).write(now._replace(**changes))
    return now


@contextmanager
def executing(native: Backend, paths: Paths) -> Iterator[tuple[int, int, int]]:
    """A command that waits for a line in `a`, by a process of its own: its pid, where to write, where to read."""
    given, taken = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(given[0], 0)
            os.dup2(taken[1], 1)
            os.closerange(3, 4096)
            code = run_in_container(paths, native.instance.id, "a", ("sh", "-c", WAITS), tty=False, env={})
        finally:
            os._exit(code)
    os.close(given[0])
    os.close(taken[1])
    try:
        yield pid, given[1], taken[0]
    finally:
        os.close(given[1])
        os.close(taken[0])


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_what_people_run_in_a_container_goes_on(
    native: Backend, paths: Paths, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVBOX_RUNTIME", runtime)
    native.network("a")
    native.up("a")
    with executing(native, paths) as (pid, stdin, stdout):
        assert os.read(stdout, 100) == b"in\n"
        kill_supervisor(native, paths)
        native.network("a")
        assert native.engine.observe(native.instance).supervised
        os.write(stdin, b"still here\n")
        assert os.read(stdout, 100) == b"still here\n"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_command_that_was_started_and_not_written_down_is_not_started_again(native: Backend, paths: Paths) -> None:
    native.network("dev")
    native.up("dev", "sleep", "infinity", supervised=("sh", "-c", "echo begun; exec sleep 4321"))
    until(lambda: native.log("dev") == ["begun"])
    kill_supervisor(native, paths)
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    rewrite(native, paths, containers=tuple(row._replace(command=None) for row in now.containers))
    native.network("dev")
    [row] = [row for row in (state.observe_state(paths, native.instance.id)[1] or now).containers if row.name == "dev"]
    assert row.command == now.containers[0].command
    assert native.sh("dev", "grep -lx sleep /proc/[0-9]*/comm | wc -l") == ["2"], "its pid 1 sleeps, too"
    assert native.log("dev") == ["begun"]


def test_processes_left_by_an_unobserved_exit_are_killed_before_the_restart(native: Backend, paths: Paths) -> None:
    native.network("dev")
    native.up("dev", "sleep", "infinity", supervised=("sh", "-c", "sleep 7771 & echo begun; exec sleep 7772"))
    until(lambda: native.log("dev") == ["begun"])
    kill_supervisor(native, paths)
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    command = now.containers[0].command
    assert command is not None
    os.kill(command.pid, signal.SIGKILL)
    until(lambda: not liveness.is_alive(command))
    native.network("dev")
    until(lambda: native.log("dev") == ["begun", "begun"])
    assert native.sh("dev", "grep -lzx '[7]771' /proc/[0-9]*/cmdline | wc -l") == ["1"]


def test_an_abandoned_probe_is_killed(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.start("a", health=Health(command=("tail", "-f", "/dev/null"), timeout=60.0))
    until(lambda: probes(native))
    before = probes(native)
    kill_supervisor(native, paths)
    assert probes(native) == before
    native.network("a")
    until(lambda: probes(native) and not probes(native) & before)


def probes(native: Backend) -> set[str]:
    """The processes in `a` that probe it."""
    return set(native.sh("a", "grep -lsx tail /proc/[0-9]*/comm || true"))


def test_containers_that_are_started_later_lie_with_those_that_run(native: Backend, paths: Paths) -> None:
    """In the instance's first control group, whatever the next supervisor's session would choose."""
    if os.geteuid() != 0:
        pytest.skip("only root's groups can be anywhere; root runs this, too")
    if cgroups.detect() == "none":
        lacking("this host has no control groups")
    native.network("a", "b")
    native.up("a")
    kill_supervisor(native, paths)
    before = rewrite(native, paths, group=f"/devbox-elsewhere/{native.instance.id}")
    native.network("a", "b")
    pid = native.up("b").pid
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as source:
            assert f"/devbox-elsewhere/{native.instance.id}/b\n" in source.read()
        assert before.group.endswith(f"/{native.instance.id}")
    finally:
        native.engine.tear_down(native.instance, volumes=True)
        subprocess.run(
            ["find", "/sys/fs/cgroup", "-depth", "-path", "*/devbox-elsewhere*", "-type", "d", "-delete"], check=True
        )


def test_a_container_that_is_ending_runs_no_more(native: Backend, paths: Paths) -> None:
    """Its pid 1 stays until all its dead are reaped: here by a process outside, which takes its time."""
    native.network("a")
    pid = native.up("a").pid
    into = ["nsenter", "--target", str(pid), "--user", "--pid", "--preserve-credentials", "--no-fork"]
    reaper = [*into, sys.executable, "-c", REAPS_LATE]
    late = subprocess.Popen(reaper, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert late.stdout is not None
        assert late.stdout.read(1) == b"\n"
        os.kill(pid or 0, signal.SIGKILL)
        until(lambda: native.seen("a").state == "exited")
        assert os.path.exists(f"/proc/{pid}/status"), "nobody has reaped it"
        assert native.seen("a").pid is None
        with pytest.raises(CannotRun, match="not running"):
            run_in_container(paths, native.instance.id, "a", ("true",), tty=False, env={})
        with ThreadPoolExecutor() as pool:
            again = pool.submit(native.up, "a")
            late.communicate()
            assert again.result().pid != pid
    finally:
        late.communicate()


def test_a_runtime_that_was_removed_is_an_error_of_one_sentence(
    native: Backend, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    runtime = shutil.copy(namespaces.find_runtime(), tmp_path)
    monkeypatch.setenv("DEVBOX_RUNTIME", runtime)
    native.network("a")
    native.up("a")
    os.rename(runtime, f"{runtime}.away")
    try:
        with pytest.raises(CannotRun, match=re.escape(f"OCI runtime of a not found: {runtime}")):
            run_in_container(paths, native.instance.id, "a", ("true",), tty=False, env={})
    finally:
        os.rename(f"{runtime}.away", runtime)
    assert run_in_container(paths, native.instance.id, "a", ("true",), tty=False, env={}) == 0


def test_what_crashed_under_another_supervisor_may_become_ready(native: Backend, paths: Paths) -> None:
    native.network("a")
    pid = native.up("a", restart="always").pid
    kill_supervisor(native, paths)
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    rewrite(native, paths, containers=tuple(row._replace(restarts=9) for row in now.containers))
    os.kill(pid or 0, signal.SIGKILL)
    until(lambda: native.seen("a").state == "exited")
    native.network("a")
    assert native.engine.wait_ready(native.instance, "a").restarts == 10


def test_a_stopped_container_stays_stopped_with_a_new_supervisor(native: Backend, paths: Paths) -> None:
    """The exit status is unknown: it was not a child of the supervisor that stopped it."""
    native.network("a")
    native.up("a", "sh", "-c", "echo begun; exec sleep 1000", restart="always")
    kill_supervisor(native, paths)
    native.engine.stop(native.instance, "a", timeout=0.1)
    assert (native.seen("a").state, native.seen("a").exit_code) == ("exited", None)
    kill_supervisor(native, paths)
    native.network("a", "b")
    native.up("b")  # more than a restart takes
    assert native.seen("a").state == "exited"
    assert native.log("a") == ["begun"]


def test_a_container_of_a_version_without_this_record_is_reported_and_adopted(native: Backend, paths: Paths) -> None:
    native.network("a")
    first = native.up("a", "sh", "-c", "echo begun; exec sleep 1000", restart="always")
    kill_supervisor(native, paths)
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    [row] = now.containers
    rewrite(native, paths, containers=(row._replace(state="starting", process=None, started_at=None),))
    os.unlink(paths.entry_file(native.instance.id, "a"))
    assert (native.seen("a").state, native.seen("a").pid) == ("starting", first.pid)
    native.network("a")
    assert (native.seen("a").state, native.seen("a").pid) == ("running", first.pid)
    assert native.sh("a", "echo inside") == ["inside"]
    assert native.log("a") == ["begun"]


def test_a_reused_pid_in_a_pid_file_is_ignored(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.up("a")
    kill_supervisor(native, paths)
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    [row] = now.containers
    rewrite(native, paths, containers=(row._replace(state="starting", process=None),))
    Path(paths.pid_file(native.instance.id, "a")).write_text(str(os.getpid()))
    assert (native.seen("a").state, native.seen("a").pid) == ("exited", None)
