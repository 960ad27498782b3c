"""Where a linked worktree of git has its repository: found from its `.git` file, believed only when it points back.

The `.git` file may come with a hostile archive; what it names is mounted into containers. So nothing counts but a
repository that lists this very worktree, that belongs to the project's owner, and whose path leads over no link.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

_MARK = "gitdir:"
_LONGEST_GITFILE = 4096
_NEVER_OVER = ("/proc", "/sys", "/dev", "/.devbox")  # where a container has what is not its image's


class WorktreeRepository(NamedTuple):
    """The common directory of a worktree, and where git in a container looks for it."""

    common: str  # on this machine, canonical
    target: str  # in the container
    backlink: str  # in the container: the file that says where the worktree is


def find_worktree(root: str, workspace: str, *, owner: int) -> WorktreeRepository | None:
    """The repository of the linked worktree `root`, which a container has at `workspace`.

    None where there is no worktree, where its claim does not hold, or where its repository can't be shown.
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
    """The common directory of the linked worktree `root`, and how it is called there; None where it is none."""
    with contextlib.suppress(OSError, ValueError):
        mark, written = _read_gitfile(f"{root}/.git").split(maxsplit=1)
        admin = os.path.normpath(os.path.join(root, written))
        common = _get_common_dir(admin)
        if mark == _MARK and common and _is_real(admin, common, root, owner):
            return common, os.path.basename(admin)
    return None


def _get_common_dir(admin: str) -> str:
    """COMMON of COMMON/worktrees/NAME; "" where that is something else."""
    above, _ = os.path.split(admin)
    common, worktrees = os.path.split(above)
    return common if worktrees == "worktrees" and common != "/" else ""


def _is_real(admin: str, common: str, root: str, owner: int) -> bool:
    """Whether the repository has this worktree on its list, and is its owner's."""
    if os.path.realpath(admin) != admin or _read_gitfile(f"{admin}/commondir") != "../..":
        return False
    if any(os.stat(directory).st_uid != owner for directory in (common, admin)):
        return False
    return os.path.realpath(os.path.join(admin, _read_gitfile(f"{admin}/gitdir"))) == f"{root}/.git"


def _overlap(common: str, root: str) -> bool:
    return f"{common}/".startswith(f"{root}/") or f"{root}/".startswith(f"{common}/")


def _is_free(target: str, workspace: str) -> bool:
    """Whether a mount there hides nothing that every container has, nor the project."""
    places = (*_NEVER_OVER, workspace)
    return not any(f"{target}/".startswith(f"{place}/") or f"{place}/".startswith(f"{target}/") for place in places)


def _read_gitfile(path: str) -> str:
    """A small file's only line. OSError where it is none; links and devices are not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as source:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(path)
        return source.read(_LONGEST_GITFILE).decode().removesuffix("\n")
