"""Listening sockets of a container that outlive it: its supervisor holds them, and its network namespace with them.

The container's process inherits them as descriptors 3, 4, …; LISTEN_FD_PORT tells it which one listens at a port. While
no process accepts, connections wait in the sockets' queues. The kernel counts what was accepted, also if the process
that accepted was killed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devbox.isolation import forks, namespaces, syscalls
from devbox.isolation.network import bridge
from devbox.isolation.types import InstanceContext, NetNode, ProcessRef, ProcessSpec

FIRST_DESCRIPTOR = 3  # number of the first socket in the container's process
VARIABLE_PREFIX = "LISTEN_FD_"
_QUEUE = 4096  # connections that wait at each port; the kernel may allow fewer (net.core.somaxconn)
_MOST = 64  # descriptors in one message
_INFO_QUEUED = 24  # offset of the length of the queue in struct tcp_info of a listening socket
_INFO_SIZE = 104


class HeldSockets(NamedTuple):
    """A network namespace and the sockets that listen in it: descriptors, the sockets' by port."""

    netns: int
    sockets: dict[int, int]


def listen(context: InstanceContext, node: NetNode, ports: Sequence[int], *, netns: int | None = None) -> HeldSockets:
    """Listen at ports of a container's network namespace: of a new one with the address `node`, or of `netns`.

    Raises EngineError or OSError where that cannot be done.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            forks.run_in_child(lambda: _send_sockets(theirs, context, node, ports, netns))
        flags = socket.MSG_CMSG_CLOEXEC
        own, *sockets = socket.recv_fds(ours, 1, _MOST, flags)[1]
    return HeldSockets(own, dict(zip(ports, sockets, strict=True)))


def _send_sockets(
    to: socket.socket, context: InstanceContext, node: NetNode, ports: Sequence[int], netns: int | None
) -> None:
    namespaces.join(context.holder, network=False)
    if netns is None:
        bridge.unshare_network(context.holder, node)
    else:
        syscalls.setns(f"/proc/self/fd/{netns}")
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    listeners = [_open_listener(port) for port in ports]
    socket.send_fds(to, [b"1"], [own, *(each.fileno() for each in listeners)])


def _open_listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))  # noqa: S104 - of the container's own namespace
    listener.listen(_QUEUE)
    return listener


def recover_sockets(process: ProcessRef, ports: Sequence[int]) -> HeldSockets | None:
    """The sockets that a running container inherited, by its pid 1, from the process that has them; None without.

    Sockets that this process has closed are left out.
    """
    for pid in (process.pid, *_list_children(process.pid)):
        with contextlib.suppress(OSError):
            netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            sockets: dict[int, int] = {}
            try:
                sockets = _find_sockets(pid, ports)
            finally:
                if not sockets:
                    os.close(netns)
            if sockets:
                return HeldSockets(netns, sockets)
    return None


def _find_sockets(pid: int, ports: Sequence[int]) -> dict[int, int]:
    """By port. OSError where the process is gone or may not be traced."""
    handle = os.pidfd_open(pid)
    found = {}
    try:
        for number, port in enumerate(ports, FIRST_DESCRIPTOR):
            if not os.path.lexists(f"/proc/{pid}/fd/{number}"):
                continue
            fd = syscalls.copy_descriptor(handle, number)
            if _get_listen_port(fd) == port:
                found[port] = fd
            else:
                os.close(fd)
    except OSError:
        close_sockets(found.values())
        raise
    finally:
        os.close(handle)
    return found


def _get_listen_port(fd: int) -> int:
    """The port of a listening socket; 0 for any other descriptor."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return 0
    with socket.socket(fileno=os.dup(fd)) as found:
        is_listening = found.family == socket.AF_INET and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return int(found.getsockname()[1]) if is_listening else 0


def _list_children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as source:
            return [int(word) for word in source.read().split()]
    except OSError:
        return []


def count_accepted(context: InstanceContext, held: HeldSockets) -> int:
    """How many connections were accepted in the namespace since it was made; a little more while others come in."""
    waiting = sum(_count_queued(fd) for fd in held.sockets.values())
    read_end, write_end = os.pipe()

    def count() -> None:
        namespaces.join(context.holder, network=False)
        syscalls.setns(f"/proc/self/fd/{held.netns}")
        os.write(write_end, str(_read_passive_opens()).encode())

    try:
        forks.run_in_child(count)
        return int(os.read(read_end, 64)) - waiting
    finally:
        os.close(read_end)
        os.close(write_end)


def _count_queued(fd: int) -> int:
    """How many connections wait until they are accepted."""
    with socket.socket(fileno=os.dup(fd)) as listener:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    return int(struct.unpack_from("I", info, _INFO_QUEUED)[0])


def _read_passive_opens() -> int:
    """How many connections to listening sockets of this process's namespace were established."""
    with open("/proc/self/net/snmp", encoding="ascii") as source:
        names, values = (line.split() for line in source if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["PassiveOpens"])


def close(held: HeldSockets) -> None:
    """Listen no more; connections that wait are reset."""
    close_sockets(held.sockets.values())
    os.close(held.netns)


def close_sockets(descriptors: Iterable[int]) -> None:
    """Listen no more at the ports of these."""
    for fd in descriptors:
        os.close(fd)


# What the container inherits.


@contextlib.contextmanager
def reserve_descriptors(sockets: Mapping[int, int]) -> Iterator[None]:
    """Reserve the numbers of these sockets: no descriptor opened inside the block, or by a child, gets one."""
    taken: list[int] = []
    try:
        while sockets and (not taken or taken[-1] < FIRST_DESCRIPTOR + len(sockets)):
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        yield
    finally:
        for fd in taken:
            os.close(fd)


def inherit_sockets(sockets: Mapping[int, int]) -> None:
    """Give the sockets their numbers in this process, which becomes the runtime. Only after `room`."""
    copies = [os.dup(fd) for fd in sockets.values()]
    for number, fd in enumerate(copies, FIRST_DESCRIPTOR):
        os.dup2(fd, number)


def add_socket_variables(process: ProcessSpec, sockets: Mapping[int, int]) -> ProcessSpec:
    """The process, with the number of each socket in its environment."""
    variables = (f"{VARIABLE_PREFIX}{port}={number}" for number, port in enumerate(sockets, FIRST_DESCRIPTOR))
    return process._replace(env=(*process.env, *variables))
