"""A killed supervisor: containers keep running, the next supervisor adopts them, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until
from support.supervisors import kill_for_good

from devbox.errors import CannotRun, EngineError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import liveness, namespaces, state
from devbox.isolation.exec import read_entry
from devbox.isolation.oneshot import run_clone
from devbox.isolation.start_supervisor import ensure_supervisor


def kill_supervisor(native: Backend, paths: Paths) -> None:
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    kill_for_good(now.supervisor.pid)
    until(lambda: not liveness.is_alive(now.supervisor))


def test_containers_survive_and_are_adopted(native: Backend, paths: Paths) -> None:
    native.network("a", "dev")
    first = native.up("a", "sh", "-c", "while :; do echo tick; sleep 0.02; done")
    native.up("dev", "sleep", "infinity", supervised=("sleep", "1000"))
    kill_supervisor(native, paths)
    view = native.engine.observe(native.instance)
    assert not view.supervised
    assert view.containers["a"].pid == first.pid
    assert native.sh("a", "echo inside") == ["inside"]
    native.network("a", "dev")
    view = native.engine.observe(native.instance)
    assert view.supervised
    assert view.containers["a"].pid == first.pid
    assert view.containers["dev"].state == "running"
    ticks = len(native.log("a"))
    until(lambda: len(native.log("a")) > ticks)
    native.engine.stop(native.instance, "a", timeout=0.1)
    assert native.seen("a").state == "exited"


def test_an_unobserved_exit_is_reported_and_repaired(native: Backend, paths: Paths) -> None:
    native.network("a")
    first = native.up("a")
    assert first.pid is not None
    kill_supervisor(native, paths)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: "exit code unknown" in native.seen("a").reason)  # before that it may be ending yet
    ended = native.seen("a")
    assert (ended.state, ended.exit_code, ended.pid) == ("exited", None, None)
    native.network("a")
    until(lambda: native.seen("a").state == "running")
    assert native.seen("a").pid != first.pid


def test_teardown_needs_no_supervisor(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.up("a", "sh", "-c", "sleep 1000 & exec sleep 1000")
    kill_supervisor(native, paths)
    native.engine.tear_down(native.instance, volumes=False)
    assert native.traces() == set()


@pytest.mark.parametrize("instead", ["nothing", "file"])
def test_a_supervisor_without_its_socket_is_one_error_and_taken_down(
    native: Backend, paths: Paths, instead: str
) -> None:
    native.network("a")
    native.up("a", "sleep", "1000")
    sock = Path(paths.socket(native.instance.id))
    sock.unlink()
    if instead == "file":
        sock.touch()
    with pytest.raises(EngineError, match="does not answer") as caught:
        native.engine.stop(native.instance, "a")
    assert caught.value.remedy == "devbox down, then devbox up"
    native.engine.tear_down(native.instance, volumes=False)
    assert native.traces() == set()


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_a_pipe_or_directory_in_place_of_an_entry_is_damaged(native: Backend, paths: Paths, kind: str) -> None:
    native.network("a")
    native.up("a", "sleep", "1000")
    entry = Path(paths.entry_file(native.instance.id, "a"))
    entry.unlink()
    if kind == "pipe":
        os.mkfifo(entry)
    else:
        entry.mkdir()
    with pytest.raises(CannotRun, match="is damaged"):
        read_entry(str(entry), "a")
    native.engine.stop(native.instance, "a")
    native.engine.tear_down(native.instance, volumes=False)
    assert native.traces() == set()


def test_a_supervisor_killed_before_it_had_anything_leaves_nothing(native: Backend, paths: Paths) -> None:
    ensure_supervisor(paths, native.instance.id).close()
    kill_supervisor(native, paths)
    assert native.engine.observe(native.instance).standing
    native.engine.tear_down(native.instance, volumes=False)
    assert native.traces() == set()


def test_files_of_the_current_directory_are_no_modules_of_the_supervisor(
    native: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `signal.py` in an untrusted repository is not run on the host."""
    for name in ("signal", "json", "devbox"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    native.network("a")
    native.up("a")
    assert not (tmp_path / "ran").exists()


def test_a_one_shot_without_a_supervisor_can_not_run_and_leaves_nothing(native: Backend, paths: Paths) -> None:
    native.network("dev")
    native.up("dev")
    kill_supervisor(native, paths)
    with pytest.raises(CannotRun, match="not supervised"):
        run_clone(paths, native.instance.id, "dev", ("true",), tty=False, env={})
    assert not os.path.lexists(paths.writable_layer(native.instance.id, f"run-{os.getpid()}"))


def test_a_killed_one_shot_is_cleaned_up(native: Backend, paths: Paths) -> None:
    native.network("a")
    pid = os.fork()
    if pid == 0:
        try:
            native.engine.run_once(native.instance, native.request("once", "sleep", "1000", role="dev"), tty=False)
        finally:
            os._exit(0)
    until(lambda: (now := state.read_state_file(paths, native.instance.id)) is not None and now.guests)
    until(lambda: os.path.exists(f"{paths.crun_root(native.instance.id)}/{native.instance.id}-once"))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: (now := state.read_state_file(paths, native.instance.id)) is not None and not now.guests)
    until(lambda: not os.path.exists(f"{paths.crun_root(native.instance.id)}/{native.instance.id}-once"))
    until(lambda: not os.path.exists(paths.writable_layer(native.instance.id, "once")))


def spawned_by(pid: int, seen: dict[int, set[int]]) -> set[int]:
    """The child processes observed so far."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as source:
        seen[pid] |= {int(child) for child in source.read().split()}
    return seen[pid]


def supervisors(native: Backend) -> set[int]:
    """The instance's supervisor and processes that try to become it; forked children have the same command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"devbox.isolation.supervisor.supervisor" in words and native.instance.id.encode() in words:
                found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return {pid for pid, parent in found.items() if parent not in found}


def test_all_that_summon_at_once_reach_the_next_supervisor(native: Backend, paths: Paths) -> None:
    native.network("a")
    kill_supervisor(native, paths)
    children = []
    with files.lock_file(paths.supervisor_lock(native.instance.id)):  # as a probe of the dead one may, for a moment
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.closerange(3, 4096)  # a fork would hold the lock, too
                    ensure_supervisor(paths, native.instance.id).close()
                    code = 0
                finally:
                    os._exit(code)
            children.append(pid)
        seen: dict[int, set[int]] = {pid: set() for pid in children}
        until(lambda: all(len(spawned_by(pid, seen)) > 1 for pid in children))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    assert supervisors(native) == {now.supervisor.pid}, "one that is late would come when this one has gone"


def test_a_new_supervisor_keeps_to_the_runtime_that_started_the_containers(
    native: Backend, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime is fixed by the instance: no runtime can manage another one's containers."""
    native.network("a")
    first = native.up("a")
    kill_supervisor(native, paths)
    before = os.path.basename(namespaces.find_runtime())
    monkeypatch.setenv("DEVBOX_RUNTIME", "crun" if before == "runc" else "runc")
    native.network("a")
    native.engine.stop(native.instance, "a", timeout=0.1)
    second = native.up("a")
    assert second.pid != first.pid
    with open(paths.entry_file(native.instance.id, "a"), encoding="utf-8") as entry:
        assert f"/{before}\n" in entry.read()
    assert native.sh("a", "echo inside") == ["inside"]
