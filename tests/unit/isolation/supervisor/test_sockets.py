"""Relay from containers to the caller's SSH agent, with real sockets on both sides."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import wait_until

from devbox.isolation.supervisor.loop import Loop
from devbox.isolation.supervisor.sockets import AgentRelay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[int]:
    """The process that relays, as a supervisor does, with a file open that is its own; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            loop = Loop()
            held = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)  # never closed
            AgentRelay(loop, str(tmp_path / "inside" / "sock"), to=str(tmp_path / "agent.to"))
            assert held
            loop.run()
        finally:
            os._exit(1)
    wait_until((tmp_path / "inside" / "sock").exists)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[socket.socket]:
    """An agent's socket, which `agent.to` names."""
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(20)
        made.bind(str(tmp_path / "agent"))
        made.listen(64)
        (tmp_path / "agent.to").symlink_to(tmp_path / "agent")
        yield made


def connected(tmp_path: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(20)
    wait_until(lambda: link.connect_ex(str(tmp_path / "inside" / "sock")) == 0)
    return link


def served(agent: socket.socket) -> socket.socket:
    link, _ = agent.accept()
    link.settimeout(20)
    return link


def test_bytes_and_end_of_stream_are_relayed_both_ways(relay: int, agent: socket.socket, tmp_path: Path) -> None:
    with connected(tmp_path) as inside, served(agent) as outside:
        inside.sendall(b"question")
        assert outside.recv(100) == b"question"
        outside.sendall(b"answer" * 20_000)
        heard = b""
        while len(heard) < 120_000:
            heard += inside.recv(65536)
        assert heard == b"answer" * 20_000
        inside.close()
        assert outside.recv(1) == b""


@pytest.mark.parametrize("named", [False, True], ids=["none", "one that is gone"])
def test_without_an_agent_a_question_is_heard_and_not_answered(relay: int, tmp_path: Path, *, named: bool) -> None:
    if named:
        (tmp_path / "agent.to").symlink_to(tmp_path / "gone")
    with connected(tmp_path) as inside:
        assert inside.recv(1) == b""
        inside.sendall(b"question")  # a BrokenPipeError would be the asking program's death by SIGPIPE


def test_more_than_32_at_a_time_are_sent_away(relay: int, agent: socket.socket, tmp_path: Path) -> None:
    links = [connected(tmp_path) for _ in range(32)]
    ends = [served(agent) for _ in links]
    with connected(tmp_path) as late:
        assert late.recv(1) == b""
    for link in links:
        link.close()
    assert [end.recv(1) for end in ends] == [b""] * 32

    def another() -> bool:
        with connected(tmp_path) as inside:
            inside.settimeout(0.2)
            try:
                return inside.recv(1) != b""
            except TimeoutError:
                return True

    wait_until(another, what="room for another connection")
    for end in ends:
        end.close()


def test_a_connection_holds_nothing_of_the_supervisor_open(relay: int, agent: socket.socket, tmp_path: Path) -> None:
    with connected(tmp_path), served(agent):
        children = Path(f"/proc/{relay}/task/{relay}/children").read_text().split()
        assert children
        held = [os.path.realpath(f"/proc/{pid}/fd/{fd}") for pid in children for fd in os.listdir(f"/proc/{pid}/fd")]
        assert str(tmp_path / "lock") not in held


def test_it_ends_with_the_supervisor(relay: int, agent: socket.socket, tmp_path: Path) -> None:
    with connected(tmp_path) as inside, served(agent):
        os.kill(relay, signal.SIGKILL)
        assert inside.recv(1) == b""


def test_everyone_in_the_container_may_connect(relay: int, tmp_path: Path) -> None:
    socket_file = tmp_path / "inside" / "sock"
    wait_until(lambda: stat.S_IMODE(socket_file.stat().st_mode) == 0o666)  # it is there a moment before
