"""Control groups: version detection, the runtime's view of the tree, resource limits and cleanup.

Root's containers are in `/devbox/HOME/INSTANCE/NAME`, where HOME is the tag of the DEVBOX_HOME: two homes may run the
same project. An ordinary user's containers are in the user's delegated subtree (see `delegation`); without one they
have no groups ("none").
"""

from __future__ import annotations

import contextlib
import os

from devbox.host import files
from devbox.isolation import delegation, oci, syscalls
from devbox.isolation.types import SecurityProfile

_ROOT = "/sys/fs/cgroup"
_UNIFIED = f"{_ROOT}/unified"
_CPU_PERIOD = 100_000  # µs; the kernel's default
_TOP_GROUP = "devbox"


def detect() -> str:
    """Return `v2`, `v1`, `hybrid` (v1 with an additional v2 tree), or `none` if this user cannot create groups."""
    if os.geteuid() != 0:
        return "v2" if delegation.is_available() else "none"
    if os.path.exists(f"{_ROOT}/cgroup.controllers"):
        return "v2" if os.access(_ROOT, os.W_OK) else "none"
    if not os.path.isdir(f"{_ROOT}/memory"):
        return "none"
    return "hybrid" if os.path.exists(f"{_UNIFIED}/cgroup.controllers") else "v1"


def join_instance_group(run_dir: str) -> tuple[str, str]:
    """Return the kind from `detect` and the parent group of the instance's containers ("" with "none").

    As an ordinary user, this process (the supervisor only) joins a leaf of the group: only a member may move processes
    into it. `list_members` and `remove_empty_groups` find the group by its record.
    """
    kind = detect()
    if os.geteuid() != 0:
        group = delegation.create_instance_group(_get_instance_path(run_dir)) if kind == "v2" else ""
        if not group:
            return "none", ""
        files.write_atomic(_get_record_path(run_dir), group, mode=0o600)
        return kind, group
    return kind, "" if kind == "none" else f"/{_TOP_GROUP}/{_get_instance_path(run_dir)}"


def rejoin_instance_group(kind: str, group: str) -> tuple[str, str]:
    """Rejoin the group of an instance whose supervisor was killed; another session might detect another group.

    Raises EngineError if this session may not move processes into the group.
    """
    if os.geteuid() != 0 and group:
        delegation.rejoin_instance_group(group)
    return kind, group


def prepare_view(kind: str, runtime: str) -> None:
    """Give the runtime a tree that it accepts. Call only in a private mount namespace.

    crun refuses hybrid hosts and needs an empty tree if none is usable; an ordinary user's runc needs the real one.
    """
    if kind == "hybrid":
        syscalls.detach(_UNIFIED)
    elif kind == "none" and oci.is_crun(runtime) and os.path.isdir(_ROOT):
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("tmpfs", _ROOT, "tmpfs", flags=flags, options="mode=0755")


def can_limit_swap(kind: str) -> bool:
    """Return whether groups of this kind can limit swap; kernels can disable swap accounting."""
    if kind == "v2":
        return any(os.path.exists(f"{_ROOT}/{entry}/memory.swap.max") for entry in os.listdir(_ROOT))
    return os.path.exists(f"{_ROOT}/memory/memory.memsw.limit_in_bytes")


def build_resources(confine: SecurityProfile, *, swap: bool, rootless: bool = False) -> dict[str, object]:
    """Build OCI `linux.resources` from the limits, with Docker's device rules (root only). Pure.

    With `swap` (see `can_limit_swap`), swap is limited to the amount of memory, as in Docker: else a limit only slows.
    """
    resources: dict[str, object] = {}
    if not rootless:
        resources["devices"] = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "access": "m"},
            {"allow": True, "type": "b", "access": "m"},
        ]
    if confine.memory is not None:
        resources["memory"] = {"limit": confine.memory} | ({"swap": 2 * confine.memory} if swap else {})
    if confine.cpus is not None:
        resources["cpu"] = {"quota": int(confine.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    if confine.pids is not None:
        resources["pids"] = {"limit": confine.pids}
    return resources


def list_members(run_dir: str) -> set[int]:
    """Return the pids of all processes in the instance's containers."""
    pids: set[int] = set()
    for top in _list_instance_groups(run_dir):
        for directory, below, _ in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]  # see `delegation`
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as source:
                pids.update(int(line) for line in source)
    return pids


def count_oom_kills(group: str, name: str) -> int:
    """Return the number of OOM kills in a container's group. Call before the group is removed."""
    for record in (f"memory{group}/{name}/memory.oom_control", f"{group[1:]}/{name}/memory.events"):
        with contextlib.suppress(OSError), open(f"{_ROOT}/{record}", encoding="ascii") as source:
            return next((int(line.split()[1]) for line in source if line.startswith("oom_kill ")), 0)
    return 0


def remove_empty_groups(run_dir: str) -> None:
    """Remove the instance's empty groups, and their parents if no other instance uses them."""
    for top in _list_instance_groups(run_dir):
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        home = os.path.dirname(top)
        ours = os.path.dirname(home)
        if os.path.basename(ours) == _TOP_GROUP:
            for directory in (home, ours):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def _get_instance_path(run_dir: str) -> str:
    """Return `HOME/INSTANCE` from an instance's runtime directory. Pure."""
    return "/".join(run_dir.rstrip("/").split("/")[-2:])


def _get_record_path(run_dir: str) -> str:
    return f"{run_dir}/group"


def _list_instance_groups(run_dir: str) -> list[str]:
    """Return the instance's group directory in every hierarchy that contains one."""
    hierarchies = [_ROOT]
    with contextlib.suppress(OSError):
        hierarchies += [entry.path for entry in os.scandir(_ROOT) if entry.is_dir(follow_symlinks=False)]
    group = files.read_text(_get_record_path(run_dir)) or f"/{_TOP_GROUP}/{_get_instance_path(run_dir)}"
    candidates = [f"{hierarchy}{group}" for hierarchy in hierarchies]
    return [candidate for candidate in candidates if os.path.isdir(candidate)]


_PROTECTED_SCORE = -900  # above the system's own services, which have -1000
_original_scores: list[int] = []  # the inherited score, if this process has changed its own


def protect_from_oom() -> None:
    """Lower the OOM score of this process and its future children, if permitted."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as source:
        given = int(source.read())
    if given > _PROTECTED_SCORE and _write_oom_score("self", _PROTECTED_SCORE):
        _original_scores[:] = [given]


def restore_oom_score(pid: int = 0) -> None:
    """Reset the OOM score of a child (default: this process) to the score from before `protect_from_oom`."""
    for given in _original_scores:
        _write_oom_score(str(pid) if pid else "self", given)


def _write_oom_score(process: str, score: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{process}/oom_score_adj", "w", encoding="ascii") as target:
        target.write(str(score))
        return True
    return False
