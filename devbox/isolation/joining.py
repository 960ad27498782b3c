"""Fast entry into a container's control groups. Light: part of `devbox exec`.

When a runtime writes another process's pid into a v1 `cgroup.procs`, the kernel blocks all forks of the host for an RCU
grace period: 8 to 22 ms on an idle host. A process that moves only itself, by writing `0` to `tasks`, does not wait.
The process that becomes the runtime therefore joins first, its children are born in the groups, and crun sees a
registration of the container without groups. On v2, crun clones into the group directly.
"""

from __future__ import annotations

import os

_ROOT = "/sys/fs/cgroup"
_ROOM = 8  # processes that the runtime needs in addition while it starts one


def needs_joining(runtime: str, cgroups: str) -> bool:
    """Return whether the runtime is crun and would join v1 groups by pid."""
    return cgroups in ("v1", "hybrid") and runtime.rpartition("/")[2] == "crun"


def get_joined_root(place: str) -> str:
    """Return crun's `--root` for processes that have joined; the directory exists only if `needs_joining`."""
    return f"{place}/joined"


def register(state: str, root: str) -> None:
    """Register a running container with crun a second time, without groups. `state` is crun's state directory."""
    import json

    from devbox.model import jsontext

    unregister(root)
    with open(f"{state}/status", encoding="utf-8") as source:
        status = jsontext.loads(source.read())
    again = f"{root}/{os.path.basename(state)}"
    os.makedirs(again, mode=0o700, exist_ok=True)
    for name in os.listdir(state):
        if name != "status":
            os.link(f"{state}/{name}", f"{again}/{name}")
    with open(f"{again}/status", "w", encoding="utf-8") as target:
        json.dump({**status, "cgroup-path": ""}, target)


def unregister(root: str) -> None:
    """Undo `register`; no-op if not registered."""
    if not os.path.isdir(root):
        return
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)


def join(init: int) -> bool:
    """Move this process into the v1 groups of the container whose pid 1 is `init`.

    Return False if joining failed or the runtime's own processes would exceed the pids limit: the runtime then joins.
    """
    try:
        groups = _read_groups(init)
        if not _has_room(groups.get("pids", "")):
            return False
        for group in groups.values():
            _enter(group)
    except OSError:
        return False
    return bool(groups)


def _read_groups(init: int) -> dict[str, str]:
    """Return a process's v1 group directories by controller, without root groups."""
    with open(f"/proc/{init}/cgroup", encoding="utf-8") as source:
        lines = [line.rstrip("\n").split(":", 2) for line in source]
    return {names: f"{_ROOT}/{names.removeprefix('name=')}{path}" for _, names, path in lines if names and path != "/"}


def _has_room(pids: str) -> bool:
    if not pids:
        return True
    with open(f"{pids}/pids.max", encoding="utf-8") as most, open(f"{pids}/pids.current", encoding="ascii") as now:
        limit = most.read().strip()
        return limit == "max" or int(now.read()) + _ROOM <= int(limit)


def _enter(group: str) -> None:
    fd = os.open(f"{group}/tasks", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)
