"""Listening sockets that outlive their container: the supervisor holds them and the network namespace.

The container's process inherits them as descriptors 3, 4, …; LISTEN_FD_PORT names the descriptor for a port. While no
process accepts, connections wait in the sockets' queues. The kernel counts accepted connections, even if the accepting
process was killed.
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

FIRST_DESCRIPTOR = 3  # descriptor of the first socket in the container's process
VARIABLE_PREFIX = "LISTEN_FD_"
_QUEUE = 4096  # pending connections per port; the kernel may allow fewer (net.core.somaxconn)
_MOST = 64  # descriptors in one message
_INFO_QUEUED = 24  # offset of the queue length in struct tcp_info of a listening socket
_INFO_SIZE = 104


class HeldSockets(NamedTuple):
    """Descriptors of a network namespace and of its listening sockets, by port."""

    netns: int
    sockets: dict[int, int]


def listen(context: InstanceContext, node: NetNode, ports: Sequence[int], *, netns: int | None = None) -> HeldSockets:
    """Listen on ports in a container's network namespace: a new one with the address `node`, or `netns`.

    Raises EngineError or OSError on failure.
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
    listener.bind(("0.0.0.0", port))  # noqa: S104 - in the container's own namespace
    listener.listen(_QUEUE)
    return listener


def recover_sockets(process: ProcessRef, ports: Sequence[int]) -> HeldSockets | None:
    """Return the sockets that a running container's process inherited, found by its pid 1; None if there are none.

    Sockets that the process has closed are left out.
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
    """Return a process's listening sockets by port; raise OSError if it is gone or may not be traced."""
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
    """Return the port of a listening socket; 0 for any other descriptor."""
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
    """Count connections accepted since the namespace was created; slightly high while others arrive."""
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
    """Count the connections waiting to be accepted."""
    with socket.socket(fileno=os.dup(fd)) as listener:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    return int(struct.unpack_from("I", info, _INFO_QUEUED)[0])


def _read_passive_opens() -> int:
    """Count the established passive connections in this process's namespace."""
    with open("/proc/self/net/snmp", encoding="ascii") as source:
        names, values = (line.split() for line in source if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["PassiveOpens"])


def close(held: HeldSockets) -> None:
    """Stop listening; pending connections are reset."""
    close_sockets(held.sockets.values())
    os.close(held.netns)


def close_sockets(descriptors: Iterable[int]) -> None:
    """Close the listening sockets."""
    for fd in descriptors:
        os.close(fd)


# Inheritance by the container.


@contextlib.contextmanager
def reserve_descriptors(sockets: Mapping[int, int]) -> Iterator[None]:
    """Reserve the sockets' target numbers: no descriptor opened inside the block, or by a child, gets one."""
    taken: list[int] = []
    try:
        while sockets and (not taken or taken[-1] < FIRST_DESCRIPTOR + len(sockets)):
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        yield
    finally:
        for fd in taken:
            os.close(fd)


def inherit_sockets(sockets: Mapping[int, int]) -> None:
    """Move the sockets to their numbers in this process, which becomes the runtime. Requires `reserve_descriptors`."""
    copies = [os.dup(fd) for fd in sockets.values()]
    for number, fd in enumerate(copies, FIRST_DESCRIPTOR):
        os.dup2(fd, number)


def add_socket_variables(process: ProcessSpec, sockets: Mapping[int, int]) -> ProcessSpec:
    """Return the process with each socket's descriptor number in its environment."""
    variables = (f"{VARIABLE_PREFIX}{port}={number}" for number, port in enumerate(sockets, FIRST_DESCRIPTOR))
    return process._replace(env=(*process.env, *variables))
