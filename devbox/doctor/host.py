"""Kernel features available to this user, tried in forked children; package mirrors, and settings for containers."""

from __future__ import annotations

import contextlib
import email.utils
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult, convert_error
from devbox.errors import DevboxError, HostError
from devbox.host import environ, files, host_settings, programs
from devbox.host.paths import read_filesystem_type
from devbox.images.bake import bootstrap
from devbox.isolation import cgroups, delegation, forks, idmap, syscalls
from devbox.isolation.network import egress
from devbox.isolation.network.bridge import find_free_subnet, get_subnet_gateway
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
_PATIENCE = 3.0  # seconds for all mirrors together
_SUITES = {"debian": "trixie", "ubuntu": "noble"}
_STATES = {"debian": PROBLEM, "ubuntu": WARNING}  # all defaults are Debian's; only some versions are Ubuntu's
_OFF = 300.0  # allowed clock offset in seconds, before signatures appear expired or not yet valid


def check_version(context: CheckContext) -> Iterator[CheckResult]:
    """Check for the mount calls used by isolation."""
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    oldest = _OLDEST_ROOTLESS if context.is_rootless else _OLDEST
    if numbers < oldest:
        minimum = ".".join(map(str, oldest))
        remedy = "upgrade the kernel" if numbers < _OLDEST_ROOTLESS else "run devbox as an ordinary user"
        sentence = (
            f"Linux {release} is too old: devbox requires {minimum} {'' if context.is_rootless else 'as root'}".rstrip()
        )
        yield CheckResult("kernel", PROBLEM, sentence, remedy)
    else:
        yield CheckResult("kernel", OK, f"Linux {release}")


def check_user_namespaces(context: CheckContext) -> Iterator[CheckResult]:
    """Check user namespaces with mounts, used by every instance."""
    try:
        forks.run_in_child(lambda: _become_root_of_trial(rootless=context.is_rootless))
    except DevboxError as error:
        shut = [
            f"{name.replace('/', '.', 1)}={opens}" for name, closed, opens in _GATES if _read_setting(name) == closed
        ]
        remedy = f"sudo sysctl -w {' '.join(shut)}" if shut else error.remedy
        yield CheckResult("user namespaces", PROBLEM, f"refused by the kernel: {error.sentence}", remedy)
    else:
        yield CheckResult("user namespaces", OK, "allowed")


def check_overlay(context: CheckContext) -> Iterator[CheckResult]:
    """Check overlays, used for layers and the writable layer, on the file system of DEVBOX_HOME."""
    if not os.access(context.nearest_existing, os.W_OK):
        return  # reported by the check of DEVBOX_HOME
    try:
        with _create_scratch_dir(context.nearest_existing) as place:
            forks.run_in_child(lambda: _mount_overlay(place, rootless=context.is_rootless))
    except DevboxError as error:
        sentence = f"cannot mount overlays below {context.nearest_existing}: {error.sentence}"
        yield CheckResult(
            "overlay", PROBLEM, sentence, "export DEVBOX_HOME=DIR of a local file system (ext4, xfs, btrfs)"
        )
    else:
        yield CheckResult("overlay", OK, "available")


def check_idmapped_mounts(context: CheckContext) -> Iterator[CheckResult]:
    """Check id-mapped mounts, used by root to give containers their own ID range."""
    if context.is_rootless:
        return
    for path in (context.nearest_existing, context.project[0] if context.project else ""):
        if path:
            yield _check_idmapped(path)


def check_seccomp(_context: CheckContext) -> Iterator[CheckResult]:
    """Check seccomp filters."""
    if os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        yield CheckResult("seccomp", OK, "available")
    else:
        yield CheckResult(
            "seccomp", PROBLEM, "missing seccomp filters in the kernel", "boot a kernel with CONFIG_SECCOMP_FILTER"
        )


def check_tun(_context: CheckContext) -> Iterator[CheckResult]:
    """Check /dev/net/tun, used by pasta for the network of containers."""
    try:
        egress.require_tun()
    except HostError as error:
        yield convert_error("tun", error)
    else:
        yield CheckResult("tun", OK, "/dev/net/tun is accessible")


def check_bridge_filter(context: CheckContext) -> Iterator[CheckResult]:
    """Check bridge filters, which prevent containers from using another container's address."""
    try:
        nft = programs.find("nft")
    except HostError:
        return  # reported by the check of programs
    try:
        forks.run_in_child(lambda: _filter_bridge(nft, rootless=context.is_rootless))
    except DevboxError as error:
        sentence = f"missing: containers can forge addresses, and cannot use isolation.egress: {error.sentence}"
        yield CheckResult("bridge filter", WARNING, sentence, "boot a kernel with CONFIG_NF_TABLES_BRIDGE")
    else:
        yield CheckResult("bridge filter", OK, "available")


def check_control_groups(context: CheckContext) -> Iterator[CheckResult]:
    """Check cgroups, which enforce limits (memory, cpus, pids)."""
    kind = cgroups.detect()
    if kind != "none":
        yield CheckResult("control groups", OK, f"{kind}: limits are enforced")
    elif obstacle := delegation.find_obstacle() if context.is_rootless else None:
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
    ruleset = b"table bridge trial {\n chain trial {\n  type filter hook prerouting priority -300;\n }\n}\n"
    programs.call([nft, "-f", "-"], purpose="filter on a bridge", text=ruleset)


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
            userns = idmap.open_userns(IdMap(rootless=False, uids=_TRIAL_IDS, gids=_TRIAL_IDS))
            syscalls.set_mount_attributes(tree, syscalls.MOUNT_ATTR_IDMAP, userns=userns, recursive=True)
        finally:
            os.close(tree)
    except (OSError, DevboxError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return CheckResult("id-mapped mounts", PROBLEM, f"{kind} does not support id-mapped mounts: {reason}", _LOCAL)
    return CheckResult("id-mapped mounts", OK, f"{kind} supports id-mapped mounts")


def _read_setting(name: str) -> str:
    return (files.read_text(f"/proc/sys/{name}") or "").strip()


@dataclass
class _MirrorAnswer:
    """Answer of a mirror: its clock offset, or the failure."""

    offset: float | None = None
    failure: str = ""


def check_mirrors(context: CheckContext) -> Iterator[CheckResult]:
    """Check that the package mirrors respond and agree with the host's clock."""
    if context.offline:
        return
    answers = {distribution: _MirrorAnswer(failure=f"no response in {_PATIENCE:.0f} s") for distribution in _SUITES}
    threads = [
        threading.Thread(target=_query_mirror, args=(distribution, answer), daemon=True)
        for distribution, answer in answers.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for distribution, answer in answers.items():
        yield _check_mirror(distribution, answer)
    yield from _check_clock([answer.offset for answer in answers.values() if answer.offset is not None])


def check_host_settings(_context: CheckContext) -> Iterator[CheckResult]:
    """Report the host's CA certificates and proxy, as passed to builds and dev."""
    try:
        taken = host_settings.collect_settings(get_subnet_gateway(find_free_subnet()))
    except HostError as error:
        yield CheckResult("certificates", PROBLEM, error.sentence, error.remedy)
        return
    if not taken.ca_file:
        sentence = "missing CA bundle on the host: https fails in bakes"
        yield CheckResult("certificates", WARNING, sentence, "sudo apt-get install ca-certificates")
    else:
        yield CheckResult("certificates", OK, f"passed to bakes and dev: {taken.ca_file}")
    for name in host_settings.PROXY_VARIABLES:
        if taken.env.get(name):
            yield _check_proxy(name, taken.env[name], host_settings.read_setting(name))


def _check_proxy(name: str, inside: str, on_host: str) -> CheckResult:
    place = urlsplit(inside if "//" in inside else f"//{inside}")
    shown = inside if name == "no_proxy" else f"{place.hostname}:{place.port or ''}".rstrip(":")  # without the password
    own = name != "no_proxy" and inside != on_host
    return CheckResult("proxy", OK, f"passed to bakes and dev: {name}={shown}{' (the host)' if own else ''}")


def _query_mirror(distribution: str, response: _MirrorAnswer) -> None:
    """Send a HEAD request for a mirror's newest index."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    url = _build_url(distribution)
    try:
        request, context = Request(url, method="HEAD"), host_settings.create_tls_context()  # noqa: S310
        with urlopen(request, timeout=_PATIENCE, context=context) as reply:  # noqa: S310
            date = email.utils.parsedate_to_datetime(reply.headers["Date"]) if reply.headers["Date"] else None
        response.offset = time.time() - date.timestamp() if date else 0.0
    except HTTPError as error:
        response.failure = f"returned {error.code} {error.reason}"
    except (URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        response.failure = getattr(reason, "strerror", None) or str(reason)


def _build_url(distribution: str) -> str:
    return f"{bootstrap.find_mirror(distribution)}/dists/{_SUITES[distribution]}/InRelease"


def _check_mirror(distribution: str, response: _MirrorAnswer) -> CheckResult:
    mirror = bootstrap.find_mirror(distribution)
    if response.offset is not None:
        return CheckResult("mirror", OK, f"{distribution}: {mirror} is reachable")
    variable = bootstrap.get_mirror_variable(distribution)
    remedy = f"test it with curl -I {_build_url(distribution)}, or use another mirror: export {variable}=URL"
    if environ.get(variable):
        remedy = f"correct {variable}, or unset it"
    sentence = f"{distribution}: cannot reach {mirror}: {response.failure}"
    return CheckResult("mirror", _STATES[distribution], sentence, remedy)


def _check_clock(offsets: list[float]) -> Iterator[CheckResult]:
    if offsets and (off := min(offsets, key=abs)) and abs(off) > _OFF:
        way = "ahead of" if off > 0 else "behind"
        sentence = f"the host's clock is {abs(off) / 60:.0f} min {way} the mirror: package lists appear invalid"
        yield CheckResult("clock", PROBLEM, sentence, "sudo timedatectl set-ntp true")
    elif offsets:
        yield CheckResult("clock", OK, "in sync with the mirror")
