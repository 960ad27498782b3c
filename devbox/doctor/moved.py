"""Where the directory of a running instance was moved to: its containers have it mounted, wherever it is now."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from devbox.errors import DevboxError
from devbox.host import directory
from devbox.host.paths import Paths
from devbox.isolation import state
from devbox.records.instance import InstanceRecords

_ESCAPED = re.compile(r"\\([0-7]{3})")


class _Mount(NamedTuple):
    """A line of mountinfo: the device, the directory of its file system that is mounted, and where."""

    device: str
    root: str
    point: str


def find(paths: Paths, instance: str) -> str:
    """The directory's present path; "" if nothing runs, the directory was removed, or its identity is not recorded."""
    with contextlib.suppress(DevboxError, OSError):
        records = InstanceRecords(paths, instance)
        wanted, before = records.directory(), records.place()[0]
        _, now = state.look(paths, instance)
        pids = [row.process.pid for row in now.containers if row.process is not None] if wanted and now else []
        host = list(_mounts("self"))
        for inner in (mount for pid in pids for mount in _mounts(str(pid))):
            for outer in host:
                path = _path(inner, outer)
                if path not in ("", before) and directory.identity(path) == wanted:
                    return path
    return ""


def _path(inner: _Mount, outer: _Mount) -> str:
    """The host's path of what a container has mounted, below one of the host's mounts; "" if it is not there."""
    above = outer.root.rstrip("/")
    if inner.device != outer.device or not f"{inner.root}/".startswith(f"{above}/"):
        return ""
    return f"{outer.point.rstrip('/')}{inner.root[len(above) :]}" or "/"


def _mounts(process: str) -> Iterator[_Mount]:
    with contextlib.suppress(OSError), open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split(" ", 5)
            yield _Mount(words[2], _unescaped(words[3]), _unescaped(words[4]))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
