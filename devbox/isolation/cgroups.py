"""Control groups: which kind the host has, what a runtime must see of it, and what containers leave behind there.

Containers lie in `/devbox/HOME/INSTANCE/NAME`, where HOME is the tag of the DEVBOX_HOME: a project may be up in
two homes at once. An ordinary user's containers have no group of their own ("none").
"""

from __future__ import annotations

import contextlib
import os

from devbox.isolation import syscalls
from devbox.isolation.types import Confine

_ROOT = "/sys/fs/cgroup"
_UNIFIED = f"{_ROOT}/unified"
_CPU_PERIOD = 100_000  # µs; the kernel's default


def detect() -> str:
    """`v2`, `v1`, `hybrid` (v1 with a v2 tree beside it), or `none` where this user may not make groups."""
    if os.geteuid() != 0:
        return "none"
    if os.path.exists(f"{_ROOT}/cgroup.controllers"):
        return "v2" if os.access(_ROOT, os.W_OK) else "none"
    if not os.path.isdir(f"{_ROOT}/memory"):
        return "none"
    return "hybrid" if os.path.exists(f"{_UNIFIED}/cgroup.controllers") else "v1"


def prepare_view(kind: str, runtime: str) -> None:
    """Show the runtime a tree it accepts. Only in a private mount namespace.

    crun refuses hybrid hosts, and without a usable tree must find an empty one; an ordinary user's runc wants the real.
    """
    if kind == "hybrid":
        syscalls.detach(_UNIFIED)
    elif kind == "none" and is_crun(runtime) and os.path.isdir(_ROOT):
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("tmpfs", _ROOT, "tmpfs", flags=flags, options="mode=0755")


def is_crun(runtime: str) -> bool:
    """Whether the runtime is crun; every other one is used by the letter of the OCI contract alone."""
    return os.path.basename(runtime) == "crun"


def group(run_dir: str) -> str:
    """`HOME/INSTANCE`: the group of an instance, by its runtime directory. Pure."""
    return "/".join(run_dir.rstrip("/").split("/")[-2:])


def path(run_dir: str, name: str) -> str:
    """The cgroupsPath of a container. Pure."""
    return f"/devbox/{group(run_dir)}/{name}"


def resources(confine: Confine) -> dict[str, object]:
    """OCI `linux.resources` of the limits, and Docker's device rules. Pure."""
    wanted: dict[str, object] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "access": "m"},
            {"allow": True, "type": "b", "access": "m"},
        ]
    }
    if confine.memory is not None:
        wanted["memory"] = {"limit": confine.memory}
    if confine.cpus is not None:
        wanted["cpu"] = {"quota": int(confine.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    if confine.pids is not None:
        wanted["pids"] = {"limit": confine.pids}
    return wanted


def members(run_dir: str) -> set[int]:
    """Every process in a container of the instance."""
    pids: set[int] = set()
    for top in _instance_groups(run_dir):
        for directory, _, _ in os.walk(top):
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as source:
                pids.update(int(line) for line in source)
    return pids


def oom_killed(run_dir: str, name: str) -> bool:
    """Whether the kernel killed something in the container for want of memory. Ask before it is deleted."""
    for record in (f"memory{path(run_dir, name)}/memory.oom_control", f"{path(run_dir, name)[1:]}/memory.events"):
        with contextlib.suppress(OSError), open(f"{_ROOT}/{record}", encoding="ascii") as source:
            return any(line.startswith("oom_kill ") and int(line.split()[1]) > 0 for line in source)
    return False


def sweep(run_dir: str) -> None:
    """Remove the instance's empty groups, and those above them when it was the last instance."""
    for top in _instance_groups(run_dir):
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        above = os.path.dirname(top)
        for directory in (above, os.path.dirname(above)):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def _instance_groups(run_dir: str) -> list[str]:
    """The instance's directory in every hierarchy that has one."""
    hierarchies = [_ROOT]
    with contextlib.suppress(OSError):
        hierarchies += [entry.path for entry in os.scandir(_ROOT) if entry.is_dir(follow_symlinks=False)]
    candidates = [f"{hierarchy}/devbox/{group(run_dir)}" for hierarchy in hierarchies]
    return [candidate for candidate in candidates if os.path.isdir(candidate)]
