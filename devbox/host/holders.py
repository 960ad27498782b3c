"""Who holds a port: the kernel's tables of sockets, and the processes that have one open."""

from __future__ import annotations

import os
from typing import NamedTuple

_LISTENS = "0A"  # the kernel's number of TCP's LISTEN
_MARK = "DEVBOX_SUPERVISED="  # and the runtime directory of the instance: see isolation.contexts.marker
_STATE, _UID, _INODE = 3, 7, 9  # columns of /proc/net/tcp and its kin


class Holder(NamedTuple):
    """A process that has a port. `pid` is None where only its user is known: other users' processes are not shown.

    `instance` is the id of the devbox instance that it works for, "" for everybody else.
    """

    pid: int | None
    name: str
    uid: int
    instance: str = ""


def holder_of(port: int, protocol: str) -> Holder | None:
    """The first process found that has a port of this machine, on whatever address; None when nobody has."""
    inodes: dict[str, int] = {}
    for table in (protocol, f"{protocol}6"):
        inodes |= _sockets(f"/proc/net/{table}", port, listening=protocol == "tcp")
    return _owner(inodes) if inodes else None


def _sockets(table: str, port: int, *, listening: bool) -> dict[str, int]:
    """The sockets on a port, inode → uid."""
    found = {}
    for line in _lines(table)[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and (not listening or fields[_STATE] == _LISTENS):
            found[fields[_INODE]] = int(fields[_UID])
    return found


def _owner(inodes: dict[str, int]) -> Holder:
    wanted, uid = {f"socket:[{inode}]" for inode in inodes}, next(iter(inodes.values()))
    for name in os.listdir("/proc"):
        if name.isdigit() and wanted & _open_files(name):
            return Holder(int(name), (_lines(f"/proc/{name}/comm") or ["?"])[0], uid, _instance(name))
    return Holder(None, "", uid)


def _instance(pid: str) -> str:
    """The instance of a program that devbox started: the last part of its mark."""
    for line in _lines(f"/proc/{pid}/environ"):
        for variable in line.split("\0"):
            if variable.startswith(_MARK):
                return os.path.basename(variable)
    return ""


def _open_files(pid: str) -> set[str]:
    found: set[str] = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    except OSError:  # it ended, closed the file, or is another user's
        return found
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read().splitlines()
    except OSError:
        return []
