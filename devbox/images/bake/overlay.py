"""File operations over layers, in a child chrooted to their overlay, so that the image's links resolve inside.

Also copies by a worker: a build's output, files into an image, files out of an image.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from typing import NamedTuple

from devbox.errors import BakeFailed
from devbox.images.bake.jobs import OUTPUT, WORK
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.isolation import forks, syscalls
from devbox.model.image import Copy

# Mount point that is not part of a layer.
HOST_DIRECTORY = ".devbox"


class HostDirectory(NamedTuple):
    """A host directory that is visible to the work."""

    path: str
    read_only: bool


def run_in_overlay(
    work: Callable[[], None],
    *,
    lowers: tuple[str, ...],
    place: str,
    rootless: bool,
    outside: Mapping[str, HostDirectory] | None = None,
) -> str:
    """Run the work; return the directory with its changes. The caller is root of the store.

    `place` is an empty directory of the store. Host directories in `outside` appear below /.devbox under their names,
    optionally read-only.
    """
    for name in ("upper", "work", "merged", "l"):
        os.mkdir(f"{place}/{name}", 0o755)
    for number, lower in enumerate(lowers):
        os.symlink(lower, f"{place}/l/{number}")  # short names: the mount options must fit a page
    chain = ":".join(f"l/{number}" for number in range(len(lowers))) or "l"  # an image without layers: nothing is below
    options = f"lowerdir={chain},upperdir=upper,workdir=work"
    options += ",userxattr" if rootless else ",redirect_dir=off,metacopy=off,index=off"

    def enter() -> None:
        os.chdir(place)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("overlay", "merged", "overlay", flags=syscalls.MS_NODEV, options=options)
        if outside:
            _bind_host_directories(outside, f"merged/{HOST_DIRECTORY}")
        os.chroot("merged")
        os.chdir("/")
        os.umask(0o022)
        work()

    forks.run_in_child(enter)
    return f"{place}/upper"


def _bind_host_directories(outside: Mapping[str, HostDirectory], place: str) -> None:
    """Mount host directories; an existing file or link of the image at this place is hidden meanwhile."""
    if os.path.islink(place) or (os.path.exists(place) and not os.path.isdir(place)):
        os.unlink(place)
    os.makedirs(place, exist_ok=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", place, "tmpfs", flags=flags, options="mode=0755")
    for name, shown in outside.items():
        os.mkdir(f"{place}/{name}")
        attributes = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
        if shown.read_only:
            attributes |= syscalls.MOUNT_ATTR_RDONLY
        tree = syscalls.clone_mount(shown.path, recursive=False)
        try:
            syscalls.set_mount_attributes(tree, attributes, recursive=False)
            syscalls.attach_mount(tree, f"{place}/{name}")
        finally:
            os.close(tree)


def copy_entry(source: str, target: str, *, but: str = "") -> None:
    """Copy a file, link or tree to a free place, or merge it into an existing directory.

    Links are copied as such. FIFOs, sockets, devices and the directory `but` are left out.
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


def copy_into(source: str, target: str, *, what: str) -> None:
    """Copy into an image: a directory's content into `target`, a file as `target` or into `target/`."""
    if not os.path.lexists(source):
        raise BakeFailed(f"cannot copy {what} to {target}: not in the output of [build]")
    if not os.path.isdir(source) and target.endswith("/"):
        target = f"{target}{os.path.basename(source)}"
    os.makedirs(os.path.dirname(target.rstrip("/")) or "/", exist_ok=True)
    copy_entry(source, target.rstrip("/") or "/")


def _copy_directory(source: str, target: str, mode: int, *, but: str) -> None:
    if not os.path.isdir(target):
        _make_room(target)
        os.mkdir(target)
        os.chmod(target, mode)
    for name in sorted(os.listdir(source), key=os.fsencode):
        copy_entry(os.path.join(source, name), f"{target}/{name}", but=but)


def _make_room(target: str) -> None:
    if os.path.isdir(target) and not os.path.islink(target):
        raise BakeFailed(f"cannot copy a file to {target}: is a directory")
    if os.path.lexists(target):
        os.unlink(target)


def collect_output(place: str, output: tuple[str, ...]) -> str:
    """Move a build's output aside and return its directory. In a chroot, so that links cannot escape."""
    os.makedirs(f"{place}/kept/{OUTPUT}", 0o755)

    def move() -> None:
        os.chroot(place)
        os.chdir("/")
        for pattern in output:
            for name in _match_pattern(pattern):
                _move(name)

    forks.run_in_child(move)
    return f"{place}/kept"


def copy_in(step: Copy, *, source: str, lowers: tuple[str, ...], place: str, rootless: bool) -> str:
    """Copy the output at `source` over the layers; return the directory with the changes."""

    def copy() -> None:
        for path, target in step.paths.items():
            _resolve_path(target)
            copy_into(f"/{HOST_DIRECTORY}/source/{OUTPUT}/{path}", target, what=path)

    outside = {"source": HostDirectory(source, read_only=True)}
    return run_in_overlay(copy, lowers=lowers, place=place, rootless=rootless, outside=outside)


def copy_out(paths: tuple[str, ...], *, lowers: tuple[str, ...], place: str, target: str, rootless: bool) -> None:
    """Copy files and directories from the layers, following links; each is named by its index in `paths`."""

    def copy() -> None:
        for number, path in enumerate(paths):
            real = _resolve_path(path)
            if not os.path.exists(real):
                raise BakeFailed(f"{path} not found in the image")
            if not (os.path.isfile(real) or os.path.isdir(real)):
                raise BakeFailed(
                    f"{path} of the image is neither a file nor a directory", remedy="name another path of the image"
                )
            copy_entry(real, f"/{HOST_DIRECTORY}/target/{number}", but=f"/{HOST_DIRECTORY}")

    outside = {"target": HostDirectory(target, read_only=False)}
    run_in_overlay(copy, lowers=lowers, place=place, rootless=rootless, outside=outside)


def _resolve_path(path: str) -> str:
    """Resolve a path of the image; raise BakeFailed if it leads into a mounted host directory."""
    real = os.path.realpath(path)
    if f"{real}/".startswith(f"/{HOST_DIRECTORY}/"):
        raise BakeFailed(
            f"{path} of the image leads to /{HOST_DIRECTORY}, which is reserved for devbox",
            remedy="name another path of the image",
        )
    return real


def _match_pattern(pattern: str) -> list[str]:
    found = glob.glob(pattern, root_dir=f"/{WORK}", recursive=True, include_hidden=True)
    found = sorted(os.path.normpath(name) for name in found)
    if not found:
        raise BakeFailed(
            f"output {pattern} of [build] not found after the build", remedy="create it in run, or correct output"
        )
    return [name for name in found if not any(name.startswith(f"{other}/") for other in found)]


def _move(name: str) -> None:
    """Move one match, unless it was part of another pattern's match."""
    source, target = f"/{WORK}/{name}", f"/kept/{OUTPUT}/{name}"
    if os.path.lexists(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
