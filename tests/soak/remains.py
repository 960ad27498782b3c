"""Leftovers of a box on the host, including those that no process refers to any more.

A network namespace can outlive those who made it (in a mount, by a descriptor, by another process in it), and so can a
listening socket. Both are noted while they are known to be the box's; where they still are at the end, they are left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from soak import truth
from support.machine import Box

_TABLES = ("tcp", "tcp6", "udp", "udp6")
_LISTENS, _UNCONNECTED = "0A", "07"
_KEPT = ("oci", "snapshots", "steps", "cache", "logs")  # the image store's own


class Remains:
    """The leftovers of one box. `scraps` replaces /tmp, which is shared, for its commands."""

    def __init__(self, box: Box, scraps: Path) -> None:
        self._box = box
        self._scraps = scraps
        self._networks: set[str] = set()
        self._sockets: dict[str, str] = {}

    def note(self) -> None:
        """Record what belongs to the box; call this while containers run."""
        open_ports = _listeners()
        pids = self._box.pids() | truth.of_box(self._box)
        self._networks |= {_network(pid) for pid in pids} - {"", _network(os.getpid())}
        for pid in pids:
            mine = open_ports.keys() & {what for _, what in _descriptors(pid)}
            self._sockets |= {socket: open_ports[socket] for socket in mine}

    def now(self) -> set[str]:
        """Everything of the box on the host, except the files of the image store."""
        files = {f"file {path}" for path in self._box.home.rglob("*") if not self._of_store(path)}
        files |= {f"file {path}" for path in self._scraps.iterdir()}
        return self._box.footprint() | files | self._ports() | self._namespaces()

    def _of_store(self, path: Path) -> bool:
        place, *rest = path.relative_to(self._box.home).parts
        if place == "locks":  # held while a one-shot runs on the image
            return any(name.startswith("image-") for name in rest)
        return place in _KEPT

    def _ports(self) -> set[str]:
        return {f"port {address}" for socket, address in _listeners().items() if socket in self._sockets}

    def _namespaces(self) -> set[str]:
        """The recorded network namespaces that still exist, with the paths that hold them."""
        if not self._networks:
            return set()
        found = set()
        for pid in truth.pids():
            ways = (f"/proc/{pid}/ns/net", *_opened(pid), *_mounted(pid))
            held = [path for path in ways if truth.identity(path) in self._networks]
            found |= {f"network namespace {path}: {truth.story(pid)}" for path in held}
        return found


def _network(pid: int) -> str:
    return truth.identity(f"/proc/{pid}/ns/net")


def _listeners() -> dict[str, str]:
    """Listening sockets of this network namespace, as descriptors name them, with their addresses."""
    found = {}
    for table in _TABLES:
        for line in _lines(Path(f"/proc/net/{table}")):
            fields = line.split()
            if fields[3] == (_LISTENS if table.startswith("tcp") else _UNCONNECTED):
                found[f"socket:[{fields[9]}]"] = f"{table} {int(fields[1].rpartition(':')[2], 16)}"
    return found


def _lines(table: Path) -> Iterator[str]:
    if table.exists():
        yield from table.read_text().splitlines()[1:]


def _descriptors(pid: int) -> Iterator[tuple[str, str]]:
    """Open files of a process: paths and their targets."""
    with contextlib.suppress(OSError):
        for path in (f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")):
            with contextlib.suppress(OSError):
                yield path, os.readlink(path)


def _opened(pid: int) -> list[str]:
    """Network namespaces that a process has open, as paths."""
    return [path for path, what in _descriptors(pid) if what.startswith("net:")]


def _mounted(pid: int) -> list[str]:
    """Network namespaces that are mounted in the sight of a process, as paths."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return [f"/proc/{pid}/root{each[4]}" for each in fields if each[3].startswith("net:")]
