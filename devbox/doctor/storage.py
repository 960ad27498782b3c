"""Where devbox keeps things: DEVBOX_HOME, its disk, and runtime state in memory; and whose ids it may use there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from devbox.doctor.finding import OK, PROBLEM, WARNING, Finding, Ground, of_error
from devbox.errors import HostError
from devbox.host.paths import system_of
from devbox.host.sizes import shown
from devbox.isolation.idmap import highest, store_map
from devbox.records.hostkey import HostKey

_TIGHT, _FULL = 5_000_000_000, 1_000_000_000  # bytes: a few images; less than one
_FEWEST_FILES = 50_000  # of one image with its layers


def home(ground: Ground) -> Iterator[Finding]:
    """DEVBOX_HOME can be written, and is the caller's own."""
    path, standing = ground.paths.home, ground.standing
    elsewhere = "export DEVBOX_HOME=DIR to keep it elsewhere"
    if blocking := _no_directory(path):
        yield Finding("DEVBOX_HOME", PROBLEM, f"{blocking} is not a directory", elsewhere)
    elif path == standing and os.stat(path).st_uid != os.geteuid():
        sentence = f"{path} belongs to uid {os.stat(path).st_uid}, not to you"
        yield Finding("DEVBOX_HOME", PROBLEM, sentence, f"sudo chown {os.geteuid()} {path}, or {elsewhere}")
    elif not os.access(standing, os.W_OK | os.X_OK):
        yield Finding("DEVBOX_HOME", PROBLEM, f"{path} can't be written", elsewhere)
    else:
        yield Finding("DEVBOX_HOME", OK, path if path == standing else f"{path}, made by the first `devbox up`")


def host_key(ground: Ground) -> Iterator[Finding]:
    """The key that authenticates the history of releases is private; nothing where no release was promoted yet."""
    key = HostKey(ground.paths)
    try:
        key.check()
    except HostError as error:
        yield Finding("host key", PROBLEM, error.sentence, error.remedy)
    else:
        if key.exists:
            yield Finding("host key", OK, f"{key.directory}, readable only by you")


def _no_directory(path: str) -> str:
    """What stands in the way of a directory: itself or the nearest thing above it, where that is a file."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return "" if os.path.isdir(path) else path


def disk(ground: Ground) -> Iterator[Finding]:
    """Room for images: one takes half a gigabyte and more, in tens of thousands of files."""
    facts = os.statvfs(ground.standing)
    free = facts.f_bavail * facts.f_frsize
    sentence = f"{shown(free)} free below {ground.standing}"
    remedy = "free some, or export DEVBOX_HOME=DIR of another disk"
    if free < _FULL:
        yield Finding("disk", PROBLEM, f"only {sentence}", remedy)
    elif facts.f_files and facts.f_favail < _FEWEST_FILES:
        yield Finding("disk", PROBLEM, f"only {facts.f_favail} more files fit below {ground.standing}", remedy)
    elif free < _TIGHT:
        yield Finding("disk", WARNING, f"only {sentence}", remedy)
    else:
        yield Finding("disk", OK, sentence)


def runtime_state(ground: Ground) -> Iterator[Finding]:
    """What a boot forgets, secrets among it, lies in memory."""
    path = ground.paths.runtime
    standing = path
    while not os.path.isdir(standing):
        standing = os.path.dirname(standing)
    kind = system_of(standing)
    if kind in ("tmpfs", "ramfs"):
        yield Finding("runtime state", OK, f"{path} ({kind})")
    else:
        sentence = f"{path} lies on {kind}: secrets of running containers are written to a disk"
        yield Finding("runtime state", WARNING, sentence, "export DEVBOX_RUNTIME_DIR=DIR of a tmpfs of your own")


def subordinate_ids(ground: Ground) -> Iterator[Finding]:
    """An ordinary user's containers use the user's ranges of /etc/subuid and /etc/subgid."""
    if not ground.rootless:
        return
    try:
        last = highest(store_map(ground.paths))
    except HostError as error:
        yield of_error("subordinate ids", error)
    else:
        yield Finding("subordinate ids", OK, f"{last + 1} ids by /etc/subuid and /etc/subgid")
