"""Availability of host ports, checked by binding, and the processes that hold them."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple


def is_free(address: str, port: int, protocol: str) -> bool:
    """Return whether this process could listen on `address:port` now."""
    return find_refusal(address, port, protocol) is None


def find_refusal(address: str, port: int, protocol: str) -> OSError | None:
    """Return the error of listening on a port; None if it would succeed."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error
    return None


_LISTENS = "0A"  # the kernel's number for TCP's LISTEN state
_MARK = "DEVBOX_SUPERVISED="  # followed by the instance's runtime directory: see namespaces.format_marker
_STATE, _UID, _INODE = 3, 7, 9  # columns of /proc/net/tcp and similar files


class PortProcess(NamedTuple):
    """A process that holds a port. `pid` is None if only its user is known: other users' processes are hidden.

    `instance` is the id of its devbox instance, "" for other processes.
    """

    pid: int | None
    name: str
    uid: int
    instance: str = ""


def find_holder(port: int, protocol: str) -> PortProcess | None:
    """Return the first process found that holds a host port on any address; None if it is free."""
    inodes: dict[str, int] = {}
    for table in (protocol, f"{protocol}6"):
        inodes |= _list_sockets(f"/proc/net/{table}", port, listening=protocol == "tcp")
    return _find_owner(inodes) if inodes else None


def _list_sockets(table: str, port: int, *, listening: bool) -> dict[str, int]:
    """Return the sockets on a port, inode → uid."""
    found = {}
    for line in _read_lines(table)[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and (not listening or fields[_STATE] == _LISTENS):
            found[fields[_INODE]] = int(fields[_UID])
    return found


def _find_owner(inodes: dict[str, int]) -> PortProcess:
    sockets, uid = {f"socket:[{inode}]" for inode in inodes}, next(iter(inodes.values()))
    for name in os.listdir("/proc"):
        if name.isdigit() and sockets & _list_open_files(name):
            return PortProcess(int(name), (_read_lines(f"/proc/{name}/comm") or ["?"])[0], uid, _read_instance(name))
    return PortProcess(None, "", uid)


def _read_instance(pid: str) -> str:
    """Return the instance of a program that devbox started: the last part of its mark."""
    for line in _read_lines(f"/proc/{pid}/environ"):
        for variable in line.split("\0"):
            if variable.startswith(_MARK):
                return os.path.basename(variable)
    return ""


def _list_open_files(pid: str) -> set[str]:
    found: set[str] = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    except OSError:  # it exited, closed the file, or belongs to another user
        return found
    return found


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read().splitlines()
    except OSError:
        return []
