"""Listening sockets in the namespace of a container that may be down: waiting and accepted clients."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.host import programs
from devbox.isolation import forks, namespaces, syscalls
from devbox.isolation.network import bridge, listening
from devbox.isolation.network.listening import HeldSockets
from devbox.isolation.types import IdMap, InstanceContext, ProcessRef, Range

NODE = bridge.make_node(0, ipv6=False)
# Accepts so many connections at the socket of port 80, says so, and sleeps.
_SERVER = """
import os, socket, sys, time
listener = socket.socket(fileno=int(os.environ["LISTEN_FD_80"]))
listener.setblocking(True)
links = [listener.accept() for _ in range(int(sys.argv[1]))]
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[InstanceContext]:
    """An instance's namespaces and its bridge."""
    if os.geteuid() != 0:
        pytest.skip("covered by root's runs")
    try:
        init = programs.find("catatonit")
    except HostError as error:
        pytest.skip(error.sentence)
    ids = (Range(0, 0, 65536),)
    idmap = IdMap(rootless=False, uids=ids, gids=ids)
    holder = namespaces.start_holder(idmap, init)
    bridge.make_bridge(holder, ipv6=False)
    yield InstanceContext(
        instance="i",
        run_dir=str(tmp_path),
        oci_root=str(tmp_path),
        runtime="crun",
        init=init,
        idmap=idmap,
        holder=holder,
    )
    os.kill(holder.pid, signal.SIGKILL)
    os.waitpid(holder.pid, 0)


def connected(context: InstanceContext, port: int, count: int) -> list[socket.socket]:
    """Connections from the instance's network to the container."""
    ours, theirs = socket.socketpair()

    def connect() -> None:
        namespaces.join(context.holder)
        links = [socket.create_connection((NODE.address, port), timeout=10) for _ in range(count)]
        socket.send_fds(theirs, [b"1"], [each.fileno() for each in links])

    with ours, theirs:
        forks.run_in_child(connect)
        return [socket.socket(fileno=fd) for fd in socket.recv_fds(ours, 1, count)[1]]


def serving(held: HeldSockets, accepts: int) -> subprocess.Popen[bytes]:
    """A process below an init that inherits the sockets and has accepted this many connections."""

    def inherit() -> None:
        syscalls.setns(f"/proc/self/fd/{held.netns}")
        listening.inherit_sockets(held.sockets)

    variables = {f"{listening.VARIABLE_PREFIX}{port}": str(3 + at) for at, port in enumerate(held.sockets)}
    with listening.reserve_descriptors(held.sockets):
        process = subprocess.Popen(
            [programs.find("catatonit"), "--", sys.executable, "-c", _SERVER, str(accepts)],
            stdout=subprocess.PIPE,
            env=variables,
            close_fds=False,
            preexec_fn=inherit,  # noqa: PLW1509 - a single thread
        )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the init and its children."""
    for pid in (*listening._list_children(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def test_issue10_11_the_kernel_counts_what_a_killed_process_had_accepted(context: InstanceContext) -> None:
    held = listening.listen(context, NODE, [80, 81])
    with ExitStack() as stack:
        links = [stack.enter_context(each) for each in connected(context, 80, 5)]
        assert listening.count_accepted(context, held) == 0, "they wait"
        process = serving(held, 3)
        assert listening.count_accepted(context, held) == 3
        end(process)
        links += [stack.enter_context(each) for each in connected(context, 81, 2)]
        assert listening.count_accepted(context, held) == 3
        process = serving(held, 2)
        assert listening.count_accepted(context, held) == 5, "those that waited are accepted by the next one"
        end(process)
    listening.close(held)


def test_issue10_11_sockets_are_recovered_from_a_running_container(context: InstanceContext) -> None:
    held = listening.listen(context, NODE, [80, 81])
    process = serving(held, 0)
    listening.close(held)  # their supervisor was killed
    (child,) = listening._list_children(process.pid)
    assert listening.recover_sockets(ProcessRef(process.pid, 0), [80, 82]) is not None, "those that fit"
    again = listening.recover_sockets(ProcessRef(process.pid, 0), [80, 81])
    assert again is not None
    assert list(again.sockets) == [80, 81]
    assert os.stat(again.netns).st_ino == os.stat(f"/proc/{child}/ns/net").st_ino
    end(process)
    with ExitStack() as stack:
        for each in connected(context, 80, 1):
            stack.enter_context(each)
        assert listening.count_accepted(context, again) == 0
        assert listening.recover_sockets(ProcessRef(process.pid, 0), [80, 81]) is None


def test_issue10_11_another_port_is_added_to_the_namespace(context: InstanceContext) -> None:
    held = listening.listen(context, NODE, [80])
    more = listening.listen(context, NODE, [81], netns=held.netns)
    assert os.stat(more.netns).st_ino == os.stat(held.netns).st_ino
    with ExitStack() as stack:
        for port in (80, 81):
            for each in connected(context, port, 1):
                stack.enter_context(each)
    for each in (held, more):
        listening.close(each)


def test_what_a_process_inherits_has_its_numbers(tmp_path: Path) -> None:
    sockets = {port: os.open(tmp_path / str(port), os.O_CREAT | os.O_RDWR) for port in (80, 81, 82)}
    read_end, write_end = os.pipe()
    with listening.reserve_descriptors(sockets):
        child = forks.fork(lambda: _say_numbers(sockets, write_end))
    assert forks.wait(child) == 0
    assert os.read(read_end, 99) == b"80 True 81 True 82 True"
    for fd in (read_end, write_end, *sockets.values()):
        os.close(fd)


def _say_numbers(sockets: dict[int, int], to: int) -> None:
    listening.inherit_sockets(sockets)
    found = (f"{Path(f'/proc/self/fd/{each}').readlink().name} {os.get_inheritable(each)}" for each in (3, 4, 5))
    os.write(to, " ".join(found).encode())
