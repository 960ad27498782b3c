"""Kernel features available to this user, tried in forked children, which clean up on exit."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult, convert_error
from devbox.errors import DevboxError, HostError
from devbox.host import files, programs
from devbox.host.paths import read_filesystem_type
from devbox.isolation import cgroups, delegation, forks, idmap, syscalls
from devbox.isolation.network import egress
from devbox.isolation.types import IdMap, Range

_OLDEST = (5, 19)  # root: overlays of id-mapped layers
_OLDEST_ROOTLESS = (5, 11)  # overlays in user namespaces
# Settings that deny user namespaces to unprivileged users: file, denying value, allowing value.
_GATES = (
    ("user/max_user_namespaces", "0", "15000"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)
_TRIAL_IDS = (Range(0, 0x4000_0000, idmap.SIZE),)
_LOCAL = "move it to a local file system (ext4, xfs, btrfs), or run devbox as an ordinary user"


def check_version(ground: CheckContext) -> Iterator[CheckResult]:
    """Check for the mount calls used by isolation."""
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    oldest = _OLDEST_ROOTLESS if ground.is_rootless else _OLDEST
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        remedy = "upgrade the kernel" if numbers < _OLDEST_ROOTLESS else "run devbox as an ordinary user"
        sentence = (
            f"Linux {release} is too old: devbox requires {wanted} {'' if ground.is_rootless else 'as root'}".rstrip()
        )
        yield CheckResult("kernel", PROBLEM, sentence, remedy)
    else:
        yield CheckResult("kernel", OK, f"Linux {release}")


def check_user_namespaces(ground: CheckContext) -> Iterator[CheckResult]:
    """Check user namespaces with mounts, used by every instance."""
    try:
        forks.run_in_child(lambda: _become_root_of_trial(rootless=ground.is_rootless))
    except DevboxError as error:
        shut = [
            f"{name.replace('/', '.', 1)}={opens}" for name, closed, opens in _GATES if _read_setting(name) == closed
        ]
        remedy = f"sudo sysctl -w {' '.join(shut)}" if shut else error.remedy
        yield CheckResult("user namespaces", PROBLEM, f"refused by the kernel: {error.sentence}", remedy)
    else:
        yield CheckResult("user namespaces", OK, "allowed")


def check_overlay(ground: CheckContext) -> Iterator[CheckResult]:
    """Check overlays, used for layers and the writable layer, on the file system of DEVBOX_HOME."""
    if not os.access(ground.nearest_existing, os.W_OK):
        return  # reported by the check of DEVBOX_HOME
    try:
        with _create_scratch_dir(ground.nearest_existing) as place:
            forks.run_in_child(lambda: _mount_overlay(place, rootless=ground.is_rootless))
    except DevboxError as error:
        sentence = f"cannot mount overlays below {ground.nearest_existing}: {error.sentence}"
        yield CheckResult(
            "overlay", PROBLEM, sentence, "export DEVBOX_HOME=DIR of a local file system (ext4, xfs, btrfs)"
        )
    else:
        yield CheckResult("overlay", OK, "available")


def check_idmapped_mounts(ground: CheckContext) -> Iterator[CheckResult]:
    """Check id-mapped mounts, used by root to give containers their own ID range."""
    if ground.is_rootless:
        return
    for path in (ground.nearest_existing, ground.project[0] if ground.project else ""):
        if path:
            yield _check_idmapped(path)


def check_seccomp(_ground: CheckContext) -> Iterator[CheckResult]:
    """Check seccomp filters."""
    if os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        yield CheckResult("seccomp", OK, "available")
    else:
        yield CheckResult(
            "seccomp", PROBLEM, "missing seccomp filters in the kernel", "boot a kernel with CONFIG_SECCOMP_FILTER"
        )


def check_tun(_ground: CheckContext) -> Iterator[CheckResult]:
    """Check /dev/net/tun, used by pasta for the network of containers."""
    try:
        egress.require_tun()
    except HostError as error:
        yield convert_error("tun", error)
    else:
        yield CheckResult("tun", OK, "/dev/net/tun is accessible")


def check_bridge_filter(ground: CheckContext) -> Iterator[CheckResult]:
    """Check bridge filters, which prevent containers from using another container's address."""
    try:
        nft = programs.find("nft")
    except HostError:
        return  # reported by the check of programs
    try:
        forks.run_in_child(lambda: _filter_bridge(nft, rootless=ground.is_rootless))
    except DevboxError as error:
        sentence = f"missing: containers can forge addresses, and cannot use isolation.egress: {error.sentence}"
        yield CheckResult("bridge filter", WARNING, sentence, "boot a kernel with CONFIG_NF_TABLES_BRIDGE")
    else:
        yield CheckResult("bridge filter", OK, "available")


def check_control_groups(ground: CheckContext) -> Iterator[CheckResult]:
    """Check cgroups, which enforce limits (memory, cpus, pids)."""
    kind = cgroups.detect()
    if kind != "none":
        yield CheckResult("control groups", OK, f"{kind}: limits are enforced")
    elif obstacle := delegation.find_obstacle() if ground.is_rootless else None:
        why, remedy = obstacle
        yield CheckResult("control groups", WARNING, f"memory, cpus and pids limits are not enforced: {why}", remedy)
    else:
        sentence = "not available: memory, cpus and pids limits are not enforced"
        yield CheckResult("control groups", WARNING, sentence, "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def _become_root_of_trial(*, rootless: bool) -> None:
    """Enter a user namespace as root and try a mount: some systems allow only the former."""
    own = (os.geteuid(), os.getegid())
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    if rootless:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {own[0]} 1"), ("gid_map", f"0 {own[1]} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as target:
                target.write(text)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)


def _filter_bridge(nft: str, *, rootless: bool) -> None:
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
def _create_scratch_dir(directory: str) -> Iterator[str]:
    """Yield a temporary directory for one overlay."""
    place = tempfile.mkdtemp(prefix=".devbox-doctor-", dir=directory)
    try:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{place}/{name}")
        yield place
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{place}/work/work")  # created by overlayfs without any permissions
        shutil.rmtree(place)


def _check_idmapped(path: str) -> CheckResult:
    kind = f"{path} ({read_filesystem_type(path)})"
    try:
        tree = syscalls.clone_mount(path, recursive=True)
        try:
            trial = idmap.open_userns(IdMap(rootless=False, uids=_TRIAL_IDS, gids=_TRIAL_IDS))
            syscalls.set_mount_attributes(tree, syscalls.MOUNT_ATTR_IDMAP, userns=trial, recursive=True)
        finally:
            os.close(tree)
    except (OSError, DevboxError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return CheckResult("id-mapped mounts", PROBLEM, f"{kind} does not support id-mapped mounts: {reason}", _LOCAL)
    return CheckResult("id-mapped mounts", OK, f"{kind} supports id-mapped mounts")


def _read_setting(name: str) -> str:
    return (files.read_text(f"/proc/sys/{name}") or "").strip()
