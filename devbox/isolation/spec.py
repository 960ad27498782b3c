"""A launch as the OCI runtime's config.json. Pure: everything that depends on the machine comes in as `Staged`."""

from __future__ import annotations

from typing import Any, NamedTuple

from devbox.isolation import cgroups, seccomp
from devbox.isolation.types import Bind, Confine, Context, Launch, ProcessRef

INIT = "/.devbox/init"
DIGEST = "devbox.image.digest"  # an annotation

# What Docker gives a container.
CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_OPEN_FILES = 65536
_OWN = ("uts", "mount", "cgroup")
_SHARED = ("pid", "ipc")  # with a container that is joined
_ROWS, _COLUMNS = 24, 80


class Staged(NamedTuple):
    """What was made ready for the container before its runtime starts. Paths as the runtime sees them."""

    rootfs: str
    binds: tuple[Bind, ...]  # sources on the stage
    netns: str
    userns: str  # "": the runtime runs in the right one already
    open_files: int  # the hard limit that devbox has itself
    swap: bool = False  # the host's control groups limit it


def config(context: Context, container: Launch, staged: Staged) -> dict[str, Any]:
    """The config.json of a container."""
    has_groups = context.cgroups != "none"
    linux: dict[str, Any] = {
        "namespaces": _namespaces(staged, container.joins),
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "seccomp": seccomp.profile(container.confine.add_capabilities),
    }
    if has_groups:
        linux["cgroupsPath"] = f"{context.group}/{container.name}"
        linux["resources"] = cgroups.resources(container.confine, swap=staged.swap, rootless=context.idmap.rootless)
    return {
        "ociVersion": "1.0.2",
        "hostname": container.name,
        "root": {"path": staged.rootfs, "readonly": container.confine.read_only},
        "process": process(container, staged.open_files),
        "mounts": _mounts(container, staged, has_groups=has_groups),
        "annotations": {DIGEST: container.digest} if container.digest else {},
        "linux": linux,
    }


def process(container: Launch, open_files: int) -> dict[str, Any]:
    """The process of a container, for config.json and `exec --process`. An init without a command only sleeps."""
    wanted = container.process
    entry: dict[str, Any] = {
        "terminal": wanted.tty,
        "user": {"uid": wanted.uid, "gid": wanted.gid, "additionalGids": list(wanted.groups)},
        "args": [*_init(container), *wanted.argv],
        "env": list(wanted.env),
        "cwd": wanted.cwd,
        "capabilities": _capabilities(container.confine),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": min(open_files, _OPEN_FILES), "hard": open_files}],
        "noNewPrivileges": True,
    }
    if wanted.tty:
        entry["consoleSize"] = {"height": wanted.rows or _ROWS, "width": wanted.columns or _COLUMNS}
    return entry


def _init(container: Launch) -> list[str]:
    if not container.init:
        return []
    return [INIT, "--"] if container.process.argv else [INIT, "-P"]


def _capabilities(confine: Confine) -> dict[str, list[str]]:
    """Nothing inheritable or ambient: a process of another user has none after its first exec."""
    dropped = CAPABILITIES if "ALL" in confine.drop_capabilities else confine.drop_capabilities
    names = [f"CAP_{name}" for name in sorted({*CAPABILITIES} - {*dropped} | {*confine.add_capabilities})]
    return {"bounding": names, "effective": names, "permitted": names}


def _namespaces(staged: Staged, joins: ProcessRef | None) -> list[dict[str, str]]:
    """User first, so that the others are owned by it; the network is the instance's."""
    user = [{"type": "user", "path": staged.userns}] if staged.userns else []
    shared = [{"type": kind, "path": f"/proc/{joins.pid}/ns/{kind}"} for kind in _SHARED] if joins else []
    own = [{"type": kind} for kind in (*_OWN, *(() if joins else _SHARED))]
    return [*user, *shared, *own, {"type": "network", "path": staged.netns}]


def _mounts(container: Launch, staged: Staged, *, has_groups: bool) -> list[dict[str, Any]]:
    mounts = [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),  # noqa: S108 - inside
        _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ]
    if has_groups:
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"))
    mounts += [_mount(target, "tmpfs", "nosuid", "nodev", "mode=1777") for target in container.tmpfs]
    return mounts + [_bind(bind) for bind in sorted(staged.binds, key=_depth)]


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _bind(bind: Bind) -> dict[str, Any]:
    options = ["rbind", "rprivate", "nosuid", "nodev", *(["ro"] if bind.read_only else [])]
    return {"destination": bind.target, "type": "bind", "source": bind.source, "options": options}


def _depth(bind: Bind) -> int:
    """Binds are made from the root downwards, so that none hides another."""
    return bind.target.count("/")
