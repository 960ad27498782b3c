"""Storage: DEVBOX_HOME, its disk, runtime state in memory, and subordinate IDs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult, convert_error
from devbox.errors import DevboxError, HostError
from devbox.host import disk, mounts
from devbox.host.paths import Paths, read_filesystem_type
from devbox.isolation import state
from devbox.isolation.idmap import find_highest_id, load_store_map
from devbox.records.host_key import HostKey
from devbox.records.instance import InstanceRecords

_TIGHT, _FULL = 5_000_000_000, 1_000_000_000  # bytes: a few images; less than one
_FEWEST_FILES = 50_000  # of one image with its layers


def check_home(context: CheckContext) -> Iterator[CheckResult]:
    """Check that DEVBOX_HOME is writable and owned by the caller."""
    path, standing = context.paths.home, context.nearest_existing
    remedy = "export DEVBOX_HOME=DIR to use another directory"
    if blocking := _find_obstacle(path):
        yield CheckResult("DEVBOX_HOME", PROBLEM, f"{blocking} is not a directory", remedy)
    elif path == standing and os.stat(path).st_uid != os.geteuid():
        sentence = f"{path} belongs to uid {os.stat(path).st_uid}, not to you"
        yield CheckResult("DEVBOX_HOME", PROBLEM, sentence, f"sudo chown {os.geteuid()} {path}, or {remedy}")
    elif not os.access(standing, os.W_OK | os.X_OK):
        yield CheckResult("DEVBOX_HOME", PROBLEM, f"{path} is not writable", remedy)
    else:
        yield CheckResult("DEVBOX_HOME", OK, path if path == standing else f"{path}, created by the first `devbox up`")


def check_host_key(context: CheckContext) -> Iterator[CheckResult]:
    """Check that the key of the release history is private; no result before the first promotion."""
    key = HostKey(context.paths)
    try:
        key.check()
    except HostError as error:
        yield CheckResult("host key", PROBLEM, error.sentence, error.remedy)
    else:
        if key.exists:
            yield CheckResult("host key", OK, f"{key.directory}, readable only by you")


def _find_obstacle(path: str) -> str:
    """Return the path or nearest parent if that is not a directory; "" otherwise."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return "" if os.path.isdir(path) else path


def check_disk(context: CheckContext) -> Iterator[CheckResult]:
    """Check the disk space for images: one takes half a gigabyte or more, in tens of thousands of files."""
    facts = os.statvfs(context.nearest_existing)
    free = facts.f_bavail * facts.f_frsize
    sentence = f"{disk.format_size(free)} free below {context.nearest_existing}"
    remedy = "free disk space, or export DEVBOX_HOME=DIR of another disk"
    if free < _FULL:
        yield CheckResult("disk", PROBLEM, f"only {sentence}", remedy)
    elif facts.f_files and facts.f_favail < _FEWEST_FILES:
        yield CheckResult(
            "disk", PROBLEM, f"only {facts.f_favail} more files fit below {context.nearest_existing}", remedy
        )
    elif free < _TIGHT:
        yield CheckResult("disk", WARNING, f"only {sentence}", remedy)
    else:
        yield CheckResult("disk", OK, sentence)


def check_runtime_state(context: CheckContext) -> Iterator[CheckResult]:
    """Check that runtime state, including secrets, is in memory."""
    path = context.paths.runtime
    standing = path
    while not os.path.isdir(standing):
        standing = os.path.dirname(standing)
    kind = read_filesystem_type(standing)
    if kind in ("tmpfs", "ramfs"):
        yield CheckResult("runtime state", OK, f"{path} ({kind})")
    else:
        sentence = f"{path} is on {kind}: secrets of running containers are written to disk"
        yield CheckResult("runtime state", WARNING, sentence, "export DEVBOX_RUNTIME_DIR=DIR of a tmpfs of your own")


def check_subordinate_ids(context: CheckContext) -> Iterator[CheckResult]:
    """Check the user's ranges in /etc/subuid and /etc/subgid, used by rootless containers."""
    if not context.is_rootless:
        return
    try:
        last = find_highest_id(load_store_map(context.paths))
    except HostError as error:
        yield convert_error("subordinate ids", error)
    else:
        yield CheckResult("subordinate ids", OK, f"{last + 1} ids in /etc/subuid and /etc/subgid")


def find_moved_directory(paths: Paths, instance: str) -> str:
    """Return the new path of a moved directory; "" if nothing runs, or it was removed, or its identity is unknown."""
    with contextlib.suppress(DevboxError, OSError):
        records = InstanceRecords(paths, instance)
        identity, before = records.read_directory(), records.read_place()[0]
        _, now = state.observe_state(paths, instance)
        pids = [row.process.pid for row in now.containers if row.process is not None] if identity and now else []
        host = list(_list_mounts("self"))
        for inner in (mount for pid in pids for mount in _list_mounts(str(pid))):
            for outer in host:
                path = _translate_path(inner, outer)
                if path not in ("", before) and disk.read_directory_identity(path) == identity:
                    return path
    return ""


def _translate_path(inner: mounts.MountInfo, outer: mounts.MountInfo) -> str:
    """Return the host path of a container's mount, below one of the host's mounts; "" if there is none."""
    above = outer.root.rstrip("/")
    if inner.device != outer.device or not f"{inner.root}/".startswith(f"{above}/"):
        return ""
    return f"{outer.point.rstrip('/')}{inner.root[len(above) :]}" or "/"


def _list_mounts(process: str) -> Iterator[mounts.MountInfo]:
    with contextlib.suppress(OSError):
        yield from mounts.list_mounts(process)
