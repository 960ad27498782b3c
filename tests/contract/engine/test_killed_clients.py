"""One-shots whose client is killed while their OCI runtime works: the runtime makes no container afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.engine.backend import Backend, processes_with
from contract.engine.test_lifecycle import until

from devbox.host.paths import Paths
from devbox.isolation import liveness, namespaces, state
from devbox.isolation.types import ProcessRef

RUNTIME = """#!{python} -ES
import ctypes, os, sys
if "run" in sys.argv and sys.argv[-1].endswith("-once"):
    ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG: as the kernel does where a runtime changes its user id
    with open("{place}/held.new", "w") as held:
        held.write(str(os.getpid()))
    os.rename("{place}/held.new", "{place}/held")
    open("{place}/gate").close()
os.execv("{runtime}", ["{runtime}", *sys.argv[1:]])
"""


class Held:
    """A one-shot whose runtime waits at a gate, before it does anything."""

    def __init__(self, native: Backend, place: Path) -> None:
        self._gate = place / "gate"
        os.mkfifo(self._gate)
        self.client = os.fork()
        if self.client == 0:
            try:
                native.engine.run_once(native.instance, native.request("once", "sleep", "1000", role="dev"), tty=False)
            finally:
                os._exit(0)
        until((place / "held").exists)
        found = liveness.identify(int((place / "held").read_text()))
        assert found is not None
        self.runtime: ProcessRef = found

    def kill_client(self) -> None:
        """Kill the client, as `kill -9` of `devbox run` does, unless it has ended."""
        if self.client:
            os.kill(self.client, signal.SIGKILL)
            self.await_client()

    def await_client(self) -> None:
        """Wait until it has ended."""
        os.waitpid(self.client, 0)
        self.client = 0

    def open_gate(self) -> None:
        """Resume the runtime, if it still runs."""
        with contextlib.suppress(OSError):  # no process waits there
            os.close(os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK))


@pytest.fixture
def held(native: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    runtime = tmp_path / "runtime"
    text = RUNTIME.format(python=sys.executable, place=tmp_path, runtime=namespaces.find_runtime())
    runtime.write_text(text)
    runtime.chmod(0o755)
    monkeypatch.setenv("DEVBOX_RUNTIME", str(runtime))
    native.network("a")
    made = Held(native, tmp_path)
    yield made
    made.kill_client()
    if liveness.is_alive(made.runtime):
        os.kill(made.runtime.pid, signal.SIGKILL)


def left(native: Backend, paths: Paths) -> set[str]:
    """The remains of the one-shot."""
    key = f"{native.instance.id}-once"
    places = (f"{paths.instance_runtime(native.instance.id)}/c/once", f"{paths.crun_root(native.instance.id)}/{key}")
    found = {path for path in (*places, paths.writable_layer(native.instance.id, "once")) if os.path.exists(path)}
    found |= set(map(str, Path("/sys/fs/cgroup").glob(f"**/{native.instance.id}/once")))
    return found | processes_with((key.encode(),))


def test_issue10_0_a_runtime_that_outlives_its_killed_client_makes_no_container(
    native: Backend, paths: Paths, held: Held
) -> None:
    held.kill_client()
    until(lambda: (now := state.read_state_file(paths, native.instance.id)) is not None and not now.guests)
    assert not liveness.is_alive(held.runtime)
    held.open_gate()
    until(lambda: not left(native, paths))
    assert native.once("next", "true") == 0


@pytest.mark.parametrize("client", ["killed", "alive"])
def test_issue10_0_down_right_after_that_leaves_nothing(native: Backend, paths: Paths, held: Held, client: str) -> None:
    if client == "killed":
        held.kill_client()
    native.engine.tear_down(native.instance, volumes=False)
    assert not liveness.is_alive(held.runtime)
    held.open_gate()
    if client == "alive":
        held.await_client()
    assert not left(native, paths)
    assert native.traces() == set()


def test_issue10_0_down_ends_a_one_shot_that_its_runtime_has_not_recorded_yet(native: Backend, paths: Paths) -> None:
    """The client does not clean up: it is stopped, which equals a kill."""
    native.network("a")
    client = os.fork()
    if client == 0:
        try:
            native.engine.run_once(native.instance, native.request("once", "sleep", "1000", role="dev"), tty=False)
        finally:
            os._exit(0)
    record = f"{paths.crun_root(native.instance.id)}/{native.instance.id}-once"
    pid_file = Path(paths.pid_file(native.instance.id, "once"))
    until(lambda: os.path.exists(record) and pid_file.exists() and pid_file.read_text())
    init = liveness.identify(int(pid_file.read_text()))
    assert init is not None
    os.kill(client, signal.SIGSTOP)
    try:
        shutil.rmtree(record)
        native.engine.tear_down(native.instance, volumes=False)
        assert not liveness.is_process_usable(init), "it may be exiting until the stopped client reaps what it adopted"
    finally:
        os.kill(client, signal.SIGKILL)
        os.waitpid(client, 0)
        if liveness.is_alive(init):
            os.kill(init.pid, signal.SIGKILL)
