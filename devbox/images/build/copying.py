"""Files on their way between a build, an image and the host: content, permissions and links, nothing else."""

from __future__ import annotations

import os
import shutil
import stat

from devbox.errors import BakeFailed
from devbox.images.epoch import SOURCE_DATE_EPOCH


def copy(source: str, target: str, *, but: str = "") -> None:
    """Copy a file, link or tree into a place that is free, or merge it into the directory that is there.

    Links are copied as they are. FIFOs, sockets, devices and the directory `but` are left out.
    """
    facts = os.lstat(source)
    if stat.S_ISDIR(facts.st_mode):
        if source != but:
            _copy_directory(source, target, stat.S_IMODE(facts.st_mode), but=but)
    elif stat.S_ISLNK(facts.st_mode):
        _make_room(target)
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(facts.st_mode):
        _make_room(target)
        shutil.copyfile(source, target, follow_symlinks=False)
        os.chmod(target, stat.S_IMODE(facts.st_mode))
        os.utime(target, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))


def into(source: str, target: str, *, what: str) -> None:
    """Copy to a place in an image: a directory's content goes into it, a file becomes it, or goes into `target/`."""
    if not os.path.lexists(source):
        raise BakeFailed(f"[build] put out no {what}, which is to be copied to {target}")
    if not os.path.isdir(source) and target.endswith("/"):
        target = f"{target}{os.path.basename(source)}"
    os.makedirs(os.path.dirname(target.rstrip("/")) or "/", exist_ok=True)
    copy(source, target.rstrip("/") or "/")


def _copy_directory(source: str, target: str, mode: int, *, but: str) -> None:
    if not os.path.isdir(target):
        _make_room(target)
        os.mkdir(target)
        os.chmod(target, mode)
    for name in sorted(os.listdir(source), key=os.fsencode):
        copy(os.path.join(source, name), f"{target}/{name}", but=but)


def _make_room(target: str) -> None:
    if os.path.isdir(target) and not os.path.islink(target):
        raise BakeFailed(f"{target} is a directory, and a file was to be copied there")
    if os.path.lexists(target):
        os.unlink(target)
