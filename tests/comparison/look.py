"""Facts about a container's process, read in its namespaces: `python -m comparison.look PID` prints JSON.

Nothing of the image is run for it: this interpreter joins the process's user and mount namespaces and looks around.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

_USER, _MOUNT = 0x1000_0000, 0x0002_0000
# Made by whoever runs the container, and different in each: see docs/reference/docker-differences.md.
_SKIPPED = {"/proc", "/sys", "/dev", "/.devbox", "/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
_FIELDS = ("Uid", "Gid", "Groups", "Umask")


def look(pid: int) -> dict[str, Any]:
    """The process and the file tree. This process is inside afterwards."""
    inside = _join(pid)
    return {"process": _process(inside), "tree": _tree()}


def _join(pid: int) -> int:
    """Join; the process's number inside."""
    status = _status(Path(f"/proc/{pid}/status").read_text())
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.stat("/proc/self/ns/user").st_ino
    kinds = [("user", _USER)] if os.stat(f"/proc/{pid}/ns/user").st_ino != own else []
    opened = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), flag) for name, flag in (*kinds, ("mnt", _MOUNT))]
    for fd, flag in opened:
        if libc.setns(fd, flag):
            raise OSError(ctypes.get_errno(), "setns")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    return int(status["NSpid"].split()[-1])


def _status(text: str) -> dict[str, str]:
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}


def _process(pid: int) -> dict[str, Any]:
    place = f"/proc/{pid}"
    status = _status(Path(f"{place}/status").read_text())
    environ = Path(f"{place}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    return {
        **{name: " ".join(sorted(set(status[name].split()))) for name in _FIELDS},
        "argv": Path(f"{place}/cmdline").read_bytes().decode(errors="backslashreplace").split("\0")[:-1],
        "env": sorted(each.decode(errors="backslashreplace") for each in environ),
        "cwd": os.readlink(f"{place}/cwd"),
    }


def _tree() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    first: dict[tuple[int, int], str] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        facts = os.lstat(path)
        found[os.fsencode(path).decode(errors="backslashreplace")] = _entry(path, facts, first)
        if stat.S_ISDIR(facts.st_mode):
            below = (os.path.join(path, name) for name in sorted(os.listdir(path), reverse=True))
            waiting += [each for each in below if each not in _SKIPPED]
    return found


def _entry(path: str, facts: os.stat_result, first: dict[tuple[int, int], str]) -> list[Any]:
    kind = stat.S_IFMT(facts.st_mode)
    what: Any = ""
    if kind == stat.S_IFREG:
        what = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        if facts.st_nlink > 1:
            what += f" = {first.setdefault((facts.st_dev, facts.st_ino), path)}"
    elif kind == stat.S_IFLNK:
        what = os.fsencode(os.readlink(path)).decode(errors="backslashreplace")
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        what = facts.st_rdev
    attributes = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith(("trusted.", "user.overlay.")):
            attributes[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return [stat.filemode(facts.st_mode), facts.st_uid, facts.st_gid, what, attributes, int(facts.st_mtime)]


if __name__ == "__main__":
    print(json.dumps(look(int(sys.argv[1]))))
