"""Repository of a linked git worktree: found by its `.git` file, trusted only if it refers back.

The `.git` file may come from a hostile archive, and its target is mounted into containers. The repository must list
this very worktree, belong to the project's owner, and have a path without links.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

_MARK = "gitdir:"
_LONGEST_GITFILE = 4096
_NEVER_OVER = ("/proc", "/sys", "/dev", "/.devbox")  # paths where containers have mounts


class WorktreeRepository(NamedTuple):
    """The common directory of a worktree, and its location for git in a container."""

    common: str  # on the host, canonical
    target: str  # in the container
    backlink: str  # in the container: the file with the worktree's location


def find_worktree(root: str, workspace: str, *, owner: int) -> WorktreeRepository | None:
    """Return the repository of the linked worktree `root`, which a container has at `workspace`.

    None if `root` is not a worktree, its reference is invalid, or its repository cannot be mounted.
    """
    with contextlib.suppress(OSError, ValueError):
        mark, written = _read_gitfile(f"{root}/.git").split(maxsplit=1)
        admin = os.path.normpath(os.path.join(root, written))
        common = _get_common_dir(admin)
        if mark == _MARK and common and _is_real(admin, common, root, owner):
            inside = os.path.normpath(os.path.join(workspace, written))
            target = _get_common_dir(inside)
            if not _overlap(common, root) and target and _is_free(target, workspace):
                return WorktreeRepository(common, target, f"{inside}/gitdir")
    return None


def find_common_dir(root: str, *, owner: int) -> tuple[str, str] | None:
    """Return the common directory of the linked worktree `root`, and its name there; None if it is not one."""
    with contextlib.suppress(OSError, ValueError):
        mark, written = _read_gitfile(f"{root}/.git").split(maxsplit=1)
        admin = os.path.normpath(os.path.join(root, written))
        common = _get_common_dir(admin)
        if mark == _MARK and common and _is_real(admin, common, root, owner):
            return common, os.path.basename(admin)
    return None


def _get_common_dir(admin: str) -> str:
    """Return COMMON of COMMON/worktrees/NAME; "" for any other path."""
    above, _ = os.path.split(admin)
    common, worktrees = os.path.split(above)
    return common if worktrees == "worktrees" and common != "/" else ""


def _is_real(admin: str, common: str, root: str, owner: int) -> bool:
    """Return whether the repository lists this worktree and belongs to its owner."""
    if os.path.realpath(admin) != admin or _read_gitfile(f"{admin}/commondir") != "../..":
        return False
    if any(os.stat(directory).st_uid != owner for directory in (common, admin)):
        return False
    return os.path.realpath(os.path.join(admin, _read_gitfile(f"{admin}/gitdir"))) == f"{root}/.git"


def _overlap(common: str, root: str) -> bool:
    return f"{common}/".startswith(f"{root}/") or f"{root}/".startswith(f"{common}/")


def _is_free(target: str, workspace: str) -> bool:
    """Return whether a mount there would hide neither standard mounts nor the project."""
    places = (*_NEVER_OVER, workspace)
    return not any(f"{target}/".startswith(f"{place}/") or f"{place}/".startswith(f"{target}/") for place in places)


def _read_gitfile(path: str) -> str:
    """Read a small file's only line; raise OSError if not regular; links and devices are not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as source:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(path)
        return source.read(_LONGEST_GITFILE).decode().removesuffix("\n")
