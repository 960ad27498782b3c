"""The state file: written atomically, trusted only as far as it can be verified."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.isolation import exec, state
from devbox.isolation.state import ContainerState, ExecEntry, InstanceState
from devbox.isolation.types import NetNode, ProcessRef

ID = "instance"
GONE = ProcessRef(2**22 - 1, 1)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    os.makedirs(made.supervisor_files(ID))
    return made


def row(name: str, process: ProcessRef | None, *, is_in: str = "running", health: str = "none") -> ContainerState:
    return ContainerState(
        name=name,
        role="service",
        image="i",
        digest="d",
        image_key="k",
        spec_key="s",
        state=is_in,
        health=health,
        process=process,
    )


def written(
    paths: Paths, supervisor: ProcessRef, *rows: ContainerState, boot: str = "", holder: ProcessRef | None = None
) -> InstanceState:
    made = InstanceState(
        format=state.FORMAT, boot=boot or state.read_boot_id(), supervisor=supervisor, holder=holder, containers=rows
    )
    state.StateFile(paths, ID).write(made)
    return made


def test_the_record_of_a_running_supervisor_is_trusted(paths: Paths) -> None:
    me = state.require_process(os.getpid())
    made = written(paths, me, row("a", GONE), holder=me)
    assert state.observe_state(paths, ID) == (True, made)


def test_a_supervisor_without_its_holder_supervises_nothing(paths: Paths) -> None:
    me = state.require_process(os.getpid())
    written(paths, me, row("a", me), holder=GONE)
    supervised, now = state.observe_state(paths, ID)
    assert not supervised
    assert now is not None
    assert now.containers[0].state == "running"


def test_without_a_supervisor_the_reader_checks_the_processes(paths: Paths) -> None:
    me = state.require_process(os.getpid())
    waits = row("waits", None, is_in="created")._replace(reason="next run at 03:00")
    over = row("over", None, is_in="exited")
    written(paths, GONE, row("alive", me, health="healthy"), row("gone", GONE), over, waits)
    supervised, now = state.observe_state(paths, ID)
    assert not supervised
    assert now is not None
    alive, gone, *untouched = now.containers
    assert (alive.state, alive.health) == ("running", "starting")
    assert (gone.state, gone.process, gone.exit_code) == ("exited", None, None)
    assert "exit code unknown" in gone.reason
    assert untouched == [over, waits]


def test_another_boot_means_stopped(paths: Paths) -> None:
    written(paths, GONE, boot="another")
    assert state.observe_state(paths, ID) == (False, None)


def test_nothing_written_is_nothing_there(paths: Paths) -> None:
    assert state.observe_state(paths, ID) == (False, None)


def entry(process: ProcessRef) -> ExecEntry:
    return ExecEntry(
        process=process,
        oci_id="x-a",
        oci_root="/r",
        runtime="/usr/bin/crun",
        rootless=False,
        cgroups="v2",
        cwd="/a=b",
        user="1:2",
        groups=(50, 109),
    )


def test_an_entry_is_read_back_while_its_process_lives(paths: Paths) -> None:
    path = paths.entry_file(ID, "a")
    state.write_entry(path, entry(state.require_process(os.getpid())))
    found = exec.read_entry(path, "a")
    assert (found["cwd"], found["user"], found["rootless"]) == ("/a=b", "1:2", "")
    assert exec.resolve_ids(None, found) == ("1:2", (50, 109))


@pytest.mark.parametrize("cwd", ["/x\nruntime=/evil", "/x\rruntime=/evil", "/x\r\nruntime=/evil"])
def test_a_directory_can_not_say_what_runs(paths: Paths, cwd: str) -> None:
    path = paths.entry_file(ID, "a")
    with pytest.raises(DevboxError, match="line break"):
        state.write_entry(path, entry(state.require_process(os.getpid()))._replace(cwd=cwd))
    assert not os.path.exists(path)


@pytest.mark.parametrize("process", [GONE, ProcessRef(os.getpid(), 1)])
def test_an_entry_of_a_dead_process_is_not_entered(paths: Paths, process: ProcessRef) -> None:
    path = paths.entry_file(ID, "a")
    state.write_entry(path, entry(process))
    with pytest.raises(Exception, match="is not running"):
        exec.read_entry(path, "a")


def test_what_is_written_again_and_again_reads_as_it_is_now(paths: Paths) -> None:
    """Only changed parts are serialized again."""
    me = state.require_process(os.getpid())
    file = state.StateFile(paths, ID)
    made = written(paths, me, row("a", me), row("b", None, is_in="created"), holder=me)
    named = made._replace(
        names=(state.NetworkName("a", NetNode("10.0.0.2", "")), state.NetworkName("b", NetNode("10.0.0.3", "")))
    )
    changed = named._replace(containers=(named.containers[0], row("b", me)), led=(80,))
    for now in (made, named, changed, changed, made._replace(containers=())):
        file.write(now)
        assert state.read_state_file(paths, ID) == now
