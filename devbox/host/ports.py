"""Whether a host port is free. Looked at by binding it for a moment."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple


def is_free(address: str, port: int, protocol: str) -> bool:
    """Whether this process could listen on `address:port` now."""
    return find_refusal(address, port, protocol) is None


def find_refusal(address: str, port: int, protocol: str) -> OSError | None:
    """Why this process could not listen there; None when it could."""
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


_LISTENS = "0A"  # the kernel's number of TCP's LISTEN
_MARK = "DEVBOX_SUPERVISED="  # and the runtime directory of the instance: see isolation.contexts.marker
_STATE, _UID, _INODE = 3, 7, 9  # columns of /proc/net/tcp and its kin


class PortProcess(NamedTuple):
    """A process that has a port. `pid` is None where only its user is known: other users' processes are not shown.

    `instance` is the id of the devbox instance that it works for, "" for everybody else.
    """

    pid: int | None
    name: str
    uid: int
    instance: str = ""


def find_holder(port: int, protocol: str) -> PortProcess | None:
    """The first process found that has a port of this machine, on whatever address; None when nobody has."""
    inodes: dict[str, int] = {}
    for table in (protocol, f"{protocol}6"):
        inodes |= _list_sockets(f"/proc/net/{table}", port, listening=protocol == "tcp")
    return _find_owner(inodes) if inodes else None


def _list_sockets(table: str, port: int, *, listening: bool) -> dict[str, int]:
    """The sockets on a port, inode → uid."""
    found = {}
    for line in _read_lines(table)[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and (not listening or fields[_STATE] == _LISTENS):
            found[fields[_INODE]] = int(fields[_UID])
    return found


def _find_owner(inodes: dict[str, int]) -> PortProcess:
    wanted, uid = {f"socket:[{inode}]" for inode in inodes}, next(iter(inodes.values()))
    for name in os.listdir("/proc"):
        if name.isdigit() and wanted & _list_open_files(name):
            return PortProcess(int(name), (_read_lines(f"/proc/{name}/comm") or ["?"])[0], uid, _read_instance(name))
    return PortProcess(None, "", uid)


def _read_instance(pid: str) -> str:
    """The instance of a program that devbox started: the last part of its mark."""
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
    except OSError:  # it ended, closed the file, or is another user's
        return found
    return found


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read().splitlines()
    except OSError:
        return []
