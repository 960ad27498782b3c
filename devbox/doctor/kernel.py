"""What the kernel allows this user: tried in forked children, which take everything they make along."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from devbox.doctor.finding import OK, PROBLEM, WARNING, Finding, Ground, of_error
from devbox.errors import DevboxError, HostError
from devbox.host import files, programs
from devbox.host.paths import system_of
from devbox.isolation import cgroups, delegation, forks, idmap, syscalls
from devbox.isolation.network import egress
from devbox.isolation.types import IdMap, Range

_OLDEST = (5, 19)  # root: overlays of id-mapped layers
_OLDEST_ROOTLESS = (5, 11)  # overlays in user namespaces
# Settings that close user namespaces to ordinary users: the file, the value that closes, the one that opens.
_GATES = (
    ("user/max_user_namespaces", "0", "15000"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)
_TRIAL_IDS = (Range(0, 0x4000_0000, idmap.SIZE),)
_LOCAL = "move it to a local file system (ext4, xfs, btrfs), or run devbox as an ordinary user"


def version(ground: Ground) -> Iterator[Finding]:
    """New enough for the mount calls that isolation makes."""
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    oldest = _OLDEST_ROOTLESS if ground.rootless else _OLDEST
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        remedy = "upgrade the system" if numbers < _OLDEST_ROOTLESS else "run devbox as an ordinary user"
        sentence = f"Linux {release} is too old, devbox needs {wanted} {'' if ground.rootless else 'as root'}".rstrip()
        yield Finding("kernel", PROBLEM, sentence, remedy)
    else:
        yield Finding("kernel", OK, f"Linux {release}")


def user_namespaces(ground: Ground) -> Iterator[Finding]:
    """Every instance has a user namespace of its own, in which it may mount."""
    try:
        forks.inside(lambda: _become_root_of_trial(rootless=ground.rootless))
    except DevboxError as error:
        shut = [f"{name.replace('/', '.', 1)}={opens}" for name, closed, opens in _GATES if _setting(name) == closed]
        remedy = f"sudo sysctl -w {' '.join(shut)}" if shut else error.remedy
        yield Finding("user namespaces", PROBLEM, f"the kernel refuses them: {error.sentence}", remedy)
    else:
        yield Finding("user namespaces", OK, "allowed")


def overlay(ground: Ground) -> Iterator[Finding]:
    """Containers are layers with a writable top, on the file system of DEVBOX_HOME."""
    if not os.access(ground.standing, os.W_OK):
        return  # said by the check of DEVBOX_HOME
    try:
        with _place(ground.standing) as place:
            forks.inside(lambda: _mount_overlay(place, rootless=ground.rootless))
    except DevboxError as error:
        sentence = f"overlays can't be mounted below {ground.standing}: {error.sentence}"
        yield Finding("overlay", PROBLEM, sentence, "export DEVBOX_HOME=DIR of a local file system (ext4, xfs, btrfs)")
    else:
        yield Finding("overlay", OK, "can be mounted")


def idmapped_mounts(ground: Ground) -> Iterator[Finding]:
    """Root gives containers a range of ids of their own; layers and the project are shown to it in them."""
    if ground.rootless:
        return
    for path in (ground.standing, ground.project[0] if ground.project else ""):
        if path:
            yield _idmapped(path)


def seccomp(_ground: Ground) -> Iterator[Finding]:
    """The filter of system calls."""
    if os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        yield Finding("seccomp", OK, "available")
    else:
        yield Finding(
            "seccomp", PROBLEM, "this kernel has no seccomp filters", "boot a kernel with CONFIG_SECCOMP_FILTER"
        )


def tun(_ground: Ground) -> Iterator[Finding]:
    """pasta, the way of containers to the network, opens /dev/net/tun."""
    try:
        egress.require_tun()
    except HostError as error:
        yield of_error("tun", error)
    else:
        yield Finding("tun", OK, "/dev/net/tun can be opened")


def bridge_filter(ground: Ground) -> Iterator[Finding]:
    """No container passes for another: the bridge between them lets nobody use another's address."""
    try:
        nft = programs.find("nft")
    except HostError:
        return  # said by the check of programs
    try:
        forks.inside(lambda: _filter_a_bridge(nft, rootless=ground.rootless))
    except DevboxError as error:
        sentence = f"containers can forge addresses, and none with isolation.egress can start: {error.sentence}"
        yield Finding("bridge filter", WARNING, sentence, "boot a kernel with CONFIG_NF_TABLES_BRIDGE")
    else:
        yield Finding("bridge filter", OK, "available")


def control_groups(ground: Ground) -> Iterator[Finding]:
    """Limits (memory, cpus, pids) are enforced by them."""
    kind = cgroups.detect()
    if kind != "none":
        yield Finding("control groups", OK, f"{kind}: limits are enforced")
    elif obstacle := delegation.obstacle() if ground.rootless else None:
        why, remedy = obstacle
        yield Finding("control groups", WARNING, f"memory, cpus and pids limits are not enforced: {why}", remedy)
    else:
        sentence = "none can be made here: memory, cpus and pids limits are not enforced"
        yield Finding("control groups", WARNING, sentence, "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def _become_root_of_trial(*, rootless: bool) -> None:
    """A user namespace of this process's own in which it is root, and may mount: some systems grant only the first."""
    own = (os.geteuid(), os.getegid())
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    if rootless:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {own[0]} 1"), ("gid_map", f"0 {own[1]} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as target:
                target.write(text)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)


def _filter_a_bridge(nft: str, *, rootless: bool) -> None:
    if rootless:
        _become_root_of_trial(rootless=True)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    trial = b"table bridge trial {\n chain trial {\n  type filter hook prerouting priority -300;\n }\n}\n"
    programs.call([nft, "-f", "-"], purpose="filter on a bridge", text=trial)


def _mount_overlay(place: str, *, rootless: bool) -> None:
    if rootless:
        _become_root_of_trial(rootless=True)
    else:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    syscalls.mount("overlay", f"{place}/lower", "overlay", options=options + (",userxattr" if rootless else ""))


@contextlib.contextmanager
def _place(directory: str) -> Iterator[str]:
    """A directory for one overlay, gone afterwards."""
    place = tempfile.mkdtemp(prefix=".devbox-doctor-", dir=directory)
    try:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{place}/{name}")
        yield place
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{place}/work/work")  # overlayfs makes it, closed to everybody
        shutil.rmtree(place)


def _idmapped(path: str) -> Finding:
    kind = f"{path} ({system_of(path)})"
    try:
        tree = syscalls.clone_mount(path, recursive=True)
        try:
            trial = idmap.userns_fd(IdMap(rootless=False, uids=_TRIAL_IDS, gids=_TRIAL_IDS))
            syscalls.set_mount_attributes(tree, syscalls.MOUNT_ATTR_IDMAP, userns=trial, recursive=True)
        finally:
            os.close(tree)
    except (OSError, DevboxError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return Finding("id-mapped mounts", PROBLEM, f"{kind} can't be mounted id-mapped: {reason}", _LOCAL)
    return Finding("id-mapped mounts", OK, f"{kind} can be mounted id-mapped")


def _setting(name: str) -> str:
    return (files.read_text(f"/proc/sys/{name}") or "").strip()
