"""Cleanup of mount points that the runtime creates for a RUN, as in BuildKit. Run by the runtime's wrapper.

    python mountpoints.py note BUNDLE FILE    before the container: record the missing mount points
    python mountpoints.py remove FILE         after it: remove those that are empty

Standard library only, independent of devbox: it briefly replaces the runtime, twice per RUN. The content of the
container's root is untrusted: links do not escape it, and only empty entries are removed.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

_KERNELS = ("/proc", "/sys", "/dev")  # created by the runtime in every container
_MOST_LINKS = 40


def record_mountpoints(bundle: str, target: str) -> None:
    """Record this container's missing mount points, deepest first, and create their parent directories.

    crun would make those sticky.
    """
    config = json.loads(Path(bundle, "config.json").read_bytes())
    root = os.path.join(bundle, config["root"]["path"])
    created: set[str] = set()
    for mount in config.get("mounts", []):
        place = mount["destination"]
        if any(place == each or place.startswith(f"{each}/") for each in _KERNELS):
            continue
        with suppress(OSError):  # if a file is in the way, the runtime reports it
            created |= _make_missing(root, _list_parents(_resolve_path(root, place)))
    Path(target).write_text(json.dumps({"root": root, "made": sorted(created, key=len, reverse=True)}))


def remove_mountpoints(target: str) -> None:
    """Remove the recorded paths that are empty."""
    noted = json.loads(Path(target).read_bytes())
    for path in noted["made"]:
        with suppress(OSError):  # not empty, or removed by RUN
            _remove(noted["root"], path)
    os.unlink(target)


def _make_missing(root: str, parts: list[str]) -> set[str]:
    """Return the missing paths, after creating all but the last, top-down."""
    new = [path for path in parts if not os.path.lexists(root + path)]
    for path in new:
        if path != parts[-1]:
            _make(root, path)
    return set(new)


def _list_parents(path: str) -> list[str]:
    """Return the path and all its parent directories, without the root."""
    words = path.strip("/").split("/")
    return ["/" + "/".join(words[: at + 1]) for at in range(len(words)) if words[at]]


def _resolve_path(root: str, path: str) -> str:
    """Resolve a path inside the root; missing components resolve to themselves."""
    waiting, done, links = path.split("/")[::-1], list[str](), 0
    while waiting:
        word = waiting.pop()
        if word in ("", "."):
            continue
        if word == "..":
            done = done[:-1]
            continue
        place = os.path.join(root, *done, word)
        if os.path.islink(place) and links < _MOST_LINKS:
            leads_to = os.readlink(place)
            waiting += leads_to.split("/")[::-1]
            done, links = [] if leads_to.startswith("/") else done, links + 1
        else:
            done.append(word)
    return "/" + "/".join(done)


def _open_parent(root: str, path: str) -> tuple[int, str]:
    """Open the parent directory of a path, following no links; return it with the entry's name."""
    *above, name = path.strip("/").split("/")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for word in above:
            below = os.open(word, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
    except OSError:
        os.close(fd)
        raise
    return fd, name


def _make(root: str, path: str) -> None:
    fd, name = _open_parent(root, path)
    try:
        os.mkdir(name, 0o755, dir_fd=fd)
    finally:
        os.close(fd)


def _remove(root: str, path: str) -> None:
    fd, name = _open_parent(root, path)
    try:
        facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode):
            os.rmdir(name, dir_fd=fd)
        elif stat.S_ISREG(facts.st_mode) and not facts.st_size:
            os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    os.umask(0o022)
    if sys.argv[1] == "note":
        record_mountpoints(*sys.argv[2:])
    else:
        remove_mountpoints(*sys.argv[2:])
