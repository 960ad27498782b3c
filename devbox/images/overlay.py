"""Work on files over layers, in a child whose root is their overlay: links of an image lead where they would inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from devbox.isolation import forks, syscalls

# What is mounted here is no part of a layer.
OUTSIDE = ".devbox"


def inside(
    work: Callable[[], None],
    *,
    lowers: tuple[str, ...],
    place: str,
    rootless: bool,
    outside: Mapping[str, str] | None = None,
) -> str:
    """Do the work; the directory that then holds its changes. The caller is root of the store.

    `place` is an empty directory of the store. Directories of the host can be had below /.devbox: `outside` has them
    by their names there.
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
        for name, source in (outside or {}).items():
            _bind(source, f"merged/{OUTSIDE}/{name}")
        os.chroot("merged")
        os.chdir("/")
        os.umask(0o022)
        work()

    forks.inside(enter)
    return f"{place}/upper"


def _bind(source: str, target: str) -> None:
    """Show a directory of the host. The image's own `/.devbox`, which may be a link, counts for nothing."""
    directory = os.path.dirname(target)
    if os.path.islink(directory) or os.path.isfile(directory):
        os.unlink(directory)
    os.makedirs(target, exist_ok=True)
    syscalls.mount(source, target, flags=syscalls.MS_BIND)
