"""Work on files over layers, in a child whose root is their overlay: links of an image lead where they would inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from devbox.isolation import forks, syscalls

# What is mounted here is no part of a layer.
HOST_DIRECTORY = ".devbox"


class HostDirectory(NamedTuple):
    """A directory of the host that is shown to the work."""

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
    """Do the work; the directory that then holds its changes. The caller is root of the store.

    `place` is an empty directory of the store. Directories of the host can be had below /.devbox: `outside` has them
    by their names there, to be read alone or not.
    """
    for name in ("upper", "work", "merged", "l"):
        os.mkdir(f"{place}/{name}", 0o755)
    for number, lower in enumerate(lowers):
        os.symlink(lower, f"{place}/l/{number}")  # short names: the mount's options must fit into a page
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
    """Show directories of the host. What the image has at this place, a link maybe, is not seen meanwhile."""
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
