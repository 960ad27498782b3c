"""File operations over layers, in a child chrooted to their overlay, so that the image's links resolve inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from devbox.isolation import forks, syscalls

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
