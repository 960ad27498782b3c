"""Into a container's control groups without waiting. Light: part of `devbox exec`.

Where a runtime writes the pid of another process into a v1 `cgroup.procs`, the kernel first keeps the whole machine
from forking, which takes a grace period of RCU: 8 to 22 ms on an idle machine. A process that moves only itself, by
`0` into `tasks`, waits for nobody. So the process that becomes the runtime goes first, what it starts is born in the
groups, and the runtime is shown the container as one that has none. On v2 crun clones into the group by itself.
"""

from __future__ import annotations

import os

_ROOT = "/sys/fs/cgroup"
_ROOM = 8  # more processes than the runtime itself needs while it starts one


def needs_joining(runtime: str, cgroups: str) -> bool:
    """Whether the runtime would join groups by pid, and is one that can be spared it."""
    return cgroups in ("v1", "hybrid") and runtime.rpartition("/")[2] == "crun"


def get_joined_root(place: str) -> str:
    """crun's `--root` for those that have joined, by the container's runtime directory; there if `wanted`."""
    return f"{place}/joined"


def register(state: str, root: str) -> None:
    """Tell crun once more of a running container, as of one without groups. `state` is what it keeps of it."""
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
    """Undo `register`; quiet when there is nothing to undo."""
    if not os.path.isdir(root):
        return
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)


def join(init: int) -> bool:
    """Make this process a member of the v1 groups of the container whose pid 1 is `init`.

    False where the runtime has to see to it: it can't be done, or the runtime's own processes would meet the limit.
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
    """The directories of a process's groups, by what their hierarchy controls; the root ones and v2 left out."""
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
