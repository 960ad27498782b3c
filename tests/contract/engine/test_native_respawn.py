"""A killed supervisor is replaced at once, without any command."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until
from support.supervisors import respawner

from devbox.host.paths import Paths
from devbox.isolation import cgroups, liveness, state
from devbox.isolation.state import InstanceState
from devbox.isolation.supervisor import respawn
from devbox.isolation.supervisor.loop import Loop

_CAP_SYS_RESOURCE = 24


def now(native: Backend, paths: Paths) -> InstanceState:
    found = state.read_state_file(paths, native.instance.id)
    assert found is not None
    return found


def is_replaced(native: Backend, paths: Paths, before: InstanceState) -> bool:
    supervised, found = state.read_state(paths, native.instance.id)
    return supervised and found is not None and found.supervisor != before.supervisor


def score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_issue9_a5_a_killed_supervisor_is_replaced_and_restarts_what_dies(native: Backend, paths: Paths) -> None:
    native.network("a", "b")
    kept, lost = native.up("a"), native.up("b")
    assert kept.pid
    assert lost.pid
    before = now(native, paths)
    os.kill(before.supervisor.pid, signal.SIGKILL)
    os.kill(lost.pid, signal.SIGKILL)
    until(lambda: is_replaced(native, paths, before))
    assert native.seen("a").pid == kept.pid
    until(lambda: native.seen("b").state == "running" and native.seen("b").pid != lost.pid)
    os.kill(kept.pid, signal.SIGKILL)
    until(lambda: native.seen("a").state == "running" and native.seen("a").pid != kept.pid)


def test_issue9_a5_a_command_without_a_supervisor_says_so(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.up("a")
    supervisor = now(native, paths).supervisor
    os.kill(supervisor.pid, signal.SIGSTOP)
    os.kill(respawner(supervisor.pid), signal.SIGKILL)
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: not liveness.is_alive(supervisor))
    assert "supervisor killed" in native.seen("a").reason
    native.network("a")
    assert native.seen("a").reason == ""


def test_issue9_a5_a_killed_respawner_is_replaced(native: Backend, paths: Paths) -> None:
    native.network("a")
    before = now(native, paths).supervisor.pid
    first = respawner(before)
    os.kill(first, signal.SIGKILL)
    until(lambda: respawner(before) not in (0, first))


def test_issue9_a5_no_supervisor_returns_to_an_instance_that_goes_down(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.up("a")
    os.kill(now(native, paths).supervisor.pid, signal.SIGKILL)
    native.engine.tear_down(native.instance, volumes=False)
    assert not native.traces()


def test_issue9_a5_a_supervisor_killed_repeatedly_is_not_replaced(paths: Paths) -> None:
    assert respawn.Respawner(Loop(), paths, "none", respawn.MAX_RESPAWNS).process is None


def test_issue9_a5_the_supervisor_is_killed_last_and_containers_as_before(native: Backend, paths: Paths) -> None:
    native.network("a")
    seen = native.up("a")
    assert seen.pid
    found = now(native, paths)
    assert found.holder is not None
    status = Path("/proc/self/status").read_text().partition("CapEff:\t")[2].split()[0]
    protected = -900 if int(status, 16) >> _CAP_SYS_RESOURCE & 1 else score("self")
    assert [score(each.pid) for each in (found.supervisor, found.holder)] == [protected, protected]
    assert score(seen.pid) == score("self")


def test_issue9_a5_what_is_started_has_the_score_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_original_scores", [500])
    pid = os.fork()
    if pid == 0:
        cgroups.restore_oom_score()
        os._exit(0 if score("self") == 500 else 1)
    assert os.waitpid(pid, 0)[1] == 0
