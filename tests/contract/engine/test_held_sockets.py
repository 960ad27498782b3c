"""Clients wait while a container restarts, and none is refused: the supervisor keeps its listening sockets open."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until
from contract.engine.test_native_crash import kill_supervisor
from contract.engine.test_native_respawn import is_replaced, now
from contract.engine.test_network import free_port

from devbox.host.paths import Paths
from devbox.isolation import liveness
from devbox.model.observed import BoundPort

_ROUTED = 0x4E20  # the port of the namespace to which pasta brings the first published port
_ESTABLISHED = "01"
# Answers each connection at the sockets of PORTS with the name that it was given, once it has heard a line.
SERVER = """
my ($name, @ports) = @ARGV;
my (@listeners, $vec);
for my $port (@ports) {
    open(my $each, "+<&=", $ENV{"LISTEN_FD_$port"}) or die "no socket for $port";
    push @listeners, $each;
}
while (1) {
    my $ready = "";
    vec($ready, fileno($_), 1) = 1 for @listeners;
    select($ready, undef, undef, undef);
    for my $each (@listeners) {
        next unless vec($ready, fileno($each), 1) && accept(my $client, $each);
        next unless sysread($client, my $line, 99);
        syswrite($client, $name);
    }
}
"""


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "runc" and os.geteuid() != 0:
        pytest.skip("covered by root's runs")
    monkeypatch.setenv("DEVBOX_RUNTIME", request.param)


def serve(native: Backend, name: str, *ports: int) -> None:
    """Start `web`, which answers with this name."""
    request = native.request("web", "perl", "-e", SERVER, name, *map(str, ports), restart="always", aliases=("shop",))
    native.engine.start(native.instance, replace(request, listens=ports))
    native.engine.wait_ready(native.instance, "web")


def published(native: Backend, *ports: int) -> int:
    """Publish the first of these ports; the host's port."""
    host = free_port()
    native.network(
        "web", published={"web": (BoundPort(host=host, address="127.0.0.1", container=ports[0], protocol="tcp"),)}
    )
    return host


@contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(b"hello\n")
        yield link


def ask(port: int) -> bytes:
    with client(port) as link:
        return link.recv(99)


def waits(native: Backend, paths: Paths) -> bool:
    """True if a connection is established with the container's port, by the kernel."""
    holder = now(native, paths).holder
    assert holder is not None
    rows = [line.split() for line in Path(f"/proc/{holder.pid}/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{_ROUTED:04X}") and row[3] == _ESTABLISHED for row in rows)


@contextmanager
def stopped(native: Backend, paths: Paths) -> Iterator[None]:
    """Nothing is started again meanwhile."""
    supervisor = now(native, paths).supervisor
    os.kill(supervisor.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor.pid, signal.SIGCONT)


def kill(native: Backend, paths: Paths) -> None:
    """Kill the container's init, and all that it runs with it."""
    (row,) = (row for row in now(native, paths).containers if row.name == "web")
    assert row.process is not None
    os.kill(row.process.pid, signal.SIGKILL)
    until(lambda: not liveness.is_process_usable(row.process))


def asked_while_killed(native: Backend, paths: Paths, port: int) -> bytes:
    """The answer to a client that connects when the container was killed, and nothing has started it again."""
    with ExitStack() as stack:
        with stopped(native, paths):
            kill(native, paths)
            waiting = stack.enter_context(client(port))
            until(lambda: waits(native, paths))
        return waiting.recv(99)


def accepted(native: Backend, paths: Paths) -> int:
    text = Path(paths.connections(native.instance.id, "web")).read_text()
    return int(json.loads(text)["accepted"])


@pytest.mark.usefixtures("runtime")
def test_issue10_11_clients_of_a_killed_container_wait_and_are_answered(native: Backend, paths: Paths) -> None:
    port = published(native, 8000, 8001)
    serve(native, "first", 8000, 8001)
    assert [ask(port) for _ in range(3)] == [b"first"] * 3
    assert asked_while_killed(native, paths, port) == b"first"
    assert accepted(native, paths) == 3, "the one that waited was not accepted by what was killed"


def test_issue10_11_a_supervisor_that_was_killed_has_its_sockets_again(native: Backend, paths: Paths) -> None:
    port = published(native, 8000)
    serve(native, "first", 8000)
    assert ask(port) == b"first"
    before = now(native, paths)
    os.kill(before.supervisor.pid, signal.SIGKILL)
    until(lambda: is_replaced(native, paths, before))
    assert asked_while_killed(native, paths, port) == b"first"
    assert accepted(native, paths) == 1


def test_issue10_11_a_container_that_dies_with_its_supervisor_listens_again(native: Backend, paths: Paths) -> None:
    port = published(native, 8000)
    serve(native, "first", 8000)
    with stopped(native, paths):
        kill(native, paths)
        kill_supervisor(native, paths)
    published_again = {"web": (BoundPort(host=port, address="127.0.0.1", container=8000, protocol="tcp"),)}
    native.network("web", published=published_again)
    until(lambda: native.seen("web").state == "running")
    assert ask(port) == b"first"


def test_issue10_11_clients_of_a_container_that_is_replaced_wait_for_its_successor(
    native: Backend, paths: Paths
) -> None:
    port = published(native, 8000)
    serve(native, "first", 8000)
    assert ask(port) == b"first"
    native.engine.remove(native.instance, "web")
    assert "\tshop" in Path(paths.instance_runtime(native.instance.id), "hosts").read_text()
    with client(port) as waiting:
        until(lambda: waits(native, paths))
        serve(native, "second", 8000, 8001)
        assert waiting.recv(99) == b"second"


def test_issue10_11_nothing_listens_for_a_container_that_was_stopped(native: Backend, paths: Paths) -> None:
    port = published(native, 8000)
    serve(native, "first", 8000)
    native.engine.stop(native.instance, "web")
    with client(port) as link, suppress(ConnectionResetError):
        assert link.recv(99) == b""
    assert not os.path.exists(paths.connections(native.instance.id, "web"))


def test_issue10_11_a_container_that_is_started_again_keeps_its_further_names(native: Backend, paths: Paths) -> None:
    native.network("web")
    request = native.request("web", "sh", "-c", "exit 1", restart="always", aliases=("shop",))
    native.engine.start(native.instance, replace(request, listens=(8000,)))
    until(lambda: native.seen("web").state == "restarting")
    assert "\tshop" in Path(paths.instance_runtime(native.instance.id), "hosts").read_text()
