"""Control groups: which kind the host has, what a runtime must see of it, and what containers leave behind there.

Root's containers lie in `/devbox/HOME/INSTANCE/NAME`, where HOME is the tag of the DEVBOX_HOME: a project may be up in
two homes at once. An ordinary user's lie in the part of the tree that is the user's own (see `delegation`), where there
is one; else they have none ("none").
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
    """`v2`, `v1`, `hybrid` (v1 with a v2 tree beside it), or `none` where this user may not make groups."""
    if os.geteuid() != 0:
        return "v2" if delegation.is_available() else "none"
    if os.path.exists(f"{_ROOT}/cgroup.controllers"):
        return "v2" if os.access(_ROOT, os.W_OK) else "none"
    if not os.path.isdir(f"{_ROOT}/memory"):
        return "none"
    return "hybrid" if os.path.exists(f"{_UNIFIED}/cgroup.controllers") else "v1"


def join_instance_group(run_dir: str) -> tuple[str, str]:
    """What `detect` says, and the group below which the containers of an instance get theirs; "none" has none.

    An ordinary user's supervisor, and no other process, becomes a member of a leaf of it: only from inside it may
    processes be put into groups. The record tells `members` and `sweep` where it was.
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
    """What `settle` found for a killed supervisor of an instance that runs: another session might find another group.

    EngineError where from this session no process can be put into it: nothing in it could be looked after.
    """
    if os.geteuid() != 0 and group:
        delegation.rejoin_instance_group(group)
    return kind, group


def prepare_view(kind: str, runtime: str) -> None:
    """Show the runtime a tree it accepts. Only in a private mount namespace.

    crun refuses hybrid hosts, and without a usable tree must find an empty one; an ordinary user's runc wants the real.
    """
    if kind == "hybrid":
        syscalls.detach(_UNIFIED)
    elif kind == "none" and oci.is_crun(runtime) and os.path.isdir(_ROOT):
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("tmpfs", _ROOT, "tmpfs", flags=flags, options="mode=0755")


def can_limit_swap(kind: str) -> bool:
    """Whether groups of this kind limit swap here: kernels can be told not to."""
    if kind == "v2":
        return any(os.path.exists(f"{_ROOT}/{entry}/memory.swap.max") for entry in os.listdir(_ROOT))
    return os.path.exists(f"{_ROOT}/memory/memory.memsw.limit_in_bytes")


def build_resources(confine: SecurityProfile, *, swap: bool, rootless: bool = False) -> dict[str, object]:
    """OCI `linux.resources` of the limits, and Docker's device rules, which only root can set. Pure.

    With `swap` (see `counts_swap`) as much of it as of memory, as Docker has it: else a limit would only slow it down.
    """
    wanted: dict[str, object] = {}
    if not rootless:
        wanted["devices"] = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "access": "m"},
            {"allow": True, "type": "b", "access": "m"},
        ]
    if confine.memory is not None:
        wanted["memory"] = {"limit": confine.memory} | ({"swap": 2 * confine.memory} if swap else {})
    if confine.cpus is not None:
        wanted["cpu"] = {"quota": int(confine.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    if confine.pids is not None:
        wanted["pids"] = {"limit": confine.pids}
    return wanted


def list_members(run_dir: str) -> set[int]:
    """Every process in a container of the instance."""
    pids: set[int] = set()
    for top in _list_instance_groups(run_dir):
        for directory, below, _ in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]  # see `delegation`
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as source:
                pids.update(int(line) for line in source)
    return pids


def count_oom_kills(group: str, name: str) -> int:
    """How many processes of a container the kernel has killed for want of memory. Ask before it is deleted."""
    for record in (f"memory{group}/{name}/memory.oom_control", f"{group[1:]}/{name}/memory.events"):
        with contextlib.suppress(OSError), open(f"{_ROOT}/{record}", encoding="ascii") as source:
            return next((int(line.split()[1]) for line in source if line.startswith("oom_kill ")), 0)
    return 0


def remove_empty_groups(run_dir: str) -> None:
    """Remove the instance's empty groups, and those above them when it was the last instance."""
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
    """`HOME/INSTANCE`, by an instance's runtime directory. Pure."""
    return "/".join(run_dir.rstrip("/").split("/")[-2:])


def _get_record_path(run_dir: str) -> str:
    return f"{run_dir}/group"


def _list_instance_groups(run_dir: str) -> list[str]:
    """The instance's directory in every hierarchy that has one."""
    hierarchies = [_ROOT]
    with contextlib.suppress(OSError):
        hierarchies += [entry.path for entry in os.scandir(_ROOT) if entry.is_dir(follow_symlinks=False)]
    group = files.read_text(_get_record_path(run_dir)) or f"/{_TOP_GROUP}/{_get_instance_path(run_dir)}"
    candidates = [f"{hierarchy}{group}" for hierarchy in hierarchies]
    return [candidate for candidate in candidates if os.path.isdir(candidate)]


_PROTECTED_SCORE = -900  # above the system's own services, which have -1000
_original_scores: list[int] = []  # the score that this process was started with, where it has another now


def protect_from_oom() -> None:
    """Make this process, and what it starts from now on, an unlikely victim, where that is allowed."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as source:
        given = int(source.read())
    if given > _PROTECTED_SCORE and _write_oom_score("self", _PROTECTED_SCORE):
        _original_scores[:] = [given]


def restore_oom_score(pid: int = 0) -> None:
    """Let a child, by default this process, be as likely a victim as this one was before `protect`."""
    for given in _original_scores:
        _write_oom_score(str(pid) if pid else "self", given)


def _write_oom_score(process: str, score: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{process}/oom_score_adj", "w", encoding="ascii") as target:
        target.write(str(score))
        return True
    return False
