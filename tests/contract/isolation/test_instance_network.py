"""The supervisor's instance network: containers that come and go do not disturb the others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.place import Place

from devbox.errors import DevboxError
from devbox.host import programs
from devbox.isolation.state import NamedPublishedPort
from devbox.isolation.supervisor.loop import Loop
from devbox.isolation.supervisor.network import InstanceNetwork
from devbox.isolation.types import NetNode, NetworkAccess, PublishedPort


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The supervisor's loop, in this process."""
    yield Loop()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture
def segment(clear: Place, loop: Loop) -> Iterator[InstanceNetwork]:
    """The network of an instance that publishes a port of its container `dev`."""
    made = InstanceNetwork(loop, clear.context, lambda: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made.set_names(("dev",), (NamedPublishedPort("dev", PublishedPort(port, "127.0.0.1", 80, "tcp")),))
    yield made
    made.close()


def _leads(place: Place, node: NetNode) -> bool:
    """Whether nft leads this container to a port of the host."""
    holder = str(place.context.holder.pid)
    rules = subprocess.run(
        ["nsenter", "-U", "-n", "-t", holder, "nft", "list", "table", "inet", "devbox"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return f"ip saddr {node.address} " in rules


def test_issue9_c19_a_pasta_that_warns_works(
    clear: Place, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = tmp_path / "pasta"
    wrapped.write_text(
        f'#!/bin/sh\necho "inotify_init1(): Too many open files" >&2\nexec {programs.find("pasta")} "$@"\n'
    )
    wrapped.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    made = InstanceNetwork(loop, clear.context, lambda: None)
    try:
        made.set_names(("dev",), ())
        assert made.egress is not None
        assert [made.pop_warnings(), made.pop_warnings()] == [("inotify_init1(): Too many open files",), ()]
    finally:
        made.close()


def test_issue9_c19_a_pasta_without_a_pid_file_does_not_run(
    clear: Place, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pasta").write_text("#!/bin/sh\necho 'no such thing' >&2\n")
    (tmp_path / "pasta").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    made = InstanceNetwork(loop, clear.context, lambda: None)
    try:
        with pytest.raises(DevboxError, match="exited immediately") as raised:
            made.set_names(("dev",), ())
        assert "no such thing" in raised.value.details
    finally:
        made.close()


def test_a_guest_that_left_passes_no_way_on_to_the_next(clear: Place, segment: InstanceNetwork):
    first = segment.lease_node("run-1")
    segment.set_access("run-1", NetworkAccess((3128,)))
    assert _leads(clear, first)

    segment.release_node("run-1")
    assert segment.lease_node("run-2") == first
    segment.set_access("run-2", NetworkAccess(()))

    assert not _leads(clear, first)


def test_one_shots_start_and_end_without_a_new_pasta(clear: Place, segment: InstanceNetwork):
    segment.lease_node("run-1")
    segment.set_access("run-1", NetworkAccess((3128,)))
    running = segment.egress

    segment.release_node("run-1")
    second = segment.lease_node("run-2")
    segment.set_access("run-2", NetworkAccess((3128,)))

    assert _leads(clear, second)
    assert segment.egress == running


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """While this file exists, the host's nft fails."""
    nft = programs.find("nft")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        mark, wrapped = Path(place) / "broken", Path(place) / "nft"
        wrapped.write_text(f'#!/bin/sh\n[ ! -e {mark} ] || exit 1\nexec {nft} "$@"\n')
        wrapped.chmod(0o755)
        monkeypatch.setenv("PATH", place, prepend=os.pathsep)
        yield mark


def test_a_leave_that_nft_did_not_take_is_said_again(clear: Place, segment: InstanceNetwork, loop: Loop, broken: Path):
    gone = segment.lease_node("run-1")
    segment.set_access("run-1", NetworkAccess((3128,)))
    broken.touch()
    segment.release_node("run-1")
    broken.unlink()
    assert _leads(clear, gone)

    _run_until(loop, lambda: not _leads(clear, gone))


def test_a_failed_change_of_egress_is_undone(segment: InstanceNetwork, loop: Loop):
    segment.lease_node("run-1")
    with pytest.raises(DevboxError):
        segment.set_access("run-1", NetworkAccess((70000,)))  # no such port: pasta refuses it
    assert segment.egress is None

    _run_until(loop, lambda: segment.egress is not None)


def _run_until(loop: Loop, condition: Callable[[], bool]) -> None:
    """Run the supervisor's loop until something is so."""

    def look() -> None:
        loop.stop() if condition() else loop.call_later(0.05, look)

    late = loop.call_later(60, loop.stop)
    look()
    loop.run()
    late.cancel()
    assert condition()
