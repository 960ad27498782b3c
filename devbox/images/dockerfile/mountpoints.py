"""What the runtime makes for the mounts of a RUN: gone after it, as in BuildKit. Run by the wrapper of the runtime.

    python mountpoints.py note BUNDLE FILE    before the container: write down what is to be made for its mounts
    python mountpoints.py remove FILE         after it: remove of that what is empty

Standard library alone, nothing of devbox: it stands for the runtime for a moment, twice a RUN. What lies in the
container's root is an image's and RUN's: no link is followed but inside it, and only what is empty is removed.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

_KERNELS = ("/proc", "/sys", "/dev")  # the runtime's, in every container
_MOST_LINKS = 40


def record_mountpoints(bundle: str, target: str) -> None:
    """Write down the paths to be made for this container, the deepest first, and make the directories above mounts.

    crun would make those sticky.
    """
    config = json.loads(Path(bundle, "config.json").read_bytes())
    root = os.path.join(bundle, config["root"]["path"])
    made: set[str] = set()
    for mount in config.get("mounts", []):
        place = mount["destination"]
        if any(place == each or place.startswith(f"{each}/") for each in _KERNELS):
            continue
        with suppress(OSError):  # where a file is in the way, the runtime says so
            made |= _make_missing(root, _list_parents(_resolve_path(root, place)))
    Path(target).write_text(json.dumps({"root": root, "made": sorted(made, key=len, reverse=True)}))


def remove_mountpoints(target: str) -> None:
    """Remove what is empty of what was written down."""
    noted = json.loads(Path(target).read_bytes())
    for path in noted["made"]:
        with suppress(OSError):  # not empty, or RUN has removed it
            _remove(noted["root"], path)
    os.unlink(target)


def _make_missing(root: str, parts: list[str]) -> set[str]:
    """Those of the paths that are not there. All but the last are made, from the top."""
    new = [path for path in parts if not os.path.lexists(root + path)]
    for path in new:
        if path != parts[-1]:
            _make(root, path)
    return set(new)


def _list_parents(path: str) -> list[str]:
    """Every directory above a path, the root not, and the path."""
    words = path.strip("/").split("/")
    return ["/" + "/".join(words[: at + 1]) for at in range(len(words)) if words[at]]


def _resolve_path(root: str, path: str) -> str:
    """Where a path leads inside the root; what is not there yet leads to itself."""
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
    """The directory that a path lies in, no link followed, and its name there."""
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
