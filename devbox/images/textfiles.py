"""The `files` step: small text files written over the layers below, without starting a container.

The layers are mounted as overlayfs, and the files written by a child whose root is that mount: links of the image lead
where they would lead in a container, and directories that were there keep their owner and mode.
"""

from __future__ import annotations

import os

from devbox.isolation import forks, syscalls
from devbox.model.image import Files

DEFAULT_MODE = 0o644


def write_files(step: Files, *, lowers: tuple[str, ...], place: str, rootless: bool) -> str:
    """Write the files; the directory that then holds the changes. The caller is root of the store."""
    for name in ("upper", "work", "merged", "l"):
        os.mkdir(f"{place}/{name}", 0o755)
    for number, lower in enumerate(lowers):
        os.symlink(lower, f"{place}/l/{number}")  # short names: the mount's options must fit into a page
    options = f"lowerdir={':'.join(f'l/{number}' for number in range(len(lowers)))},upperdir=upper,workdir=work"
    options += ",userxattr" if rootless else ",redirect_dir=off,metacopy=off,index=off"

    def write() -> None:
        os.chdir(place)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("overlay", "merged", "overlay", options=options)
        os.chroot("merged")
        os.chdir("/")
        os.umask(0o022)
        for path in sorted(step.contents):
            _write(path, step.contents[path], step.modes.get(path, DEFAULT_MODE))

    forks.inside(write)
    return f"{place}/upper"


def _write(path: str, text: str, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
        os.fchmod(out.fileno(), mode)
