"""What an isolated container must not change of its project, mounted read-only over the writable workspace.

These are the files that devbox and git read on the host: the env file, its override, lock and recipes, and git's
configuration and hooks. A mount point can be neither renamed nor removed inside the container; `.git` is one, too, so
that no other directory takes its place. A host program that replaces such a file by another one (an editor that
renames) lifts the mount until the container starts again; what the file then grants still needs `devbox trust`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from devbox.host.project import LOCAL_FILE
from devbox.isolation.types import Bind
from devbox.model.resolved import Instance

_GIT = ".git"
_OF_GIT = ("config", "config.worktree", "hooks")
_MODULES = 100  # submodules whose configuration is protected, at most


def binds(instance: Instance, workspace: Bind) -> Iterator[Bind]:
    """The mounts to add to a container that has the project writable at `workspace.target`."""
    root, lock = instance.root, f"{instance.env_file.removesuffix('.toml')}.lock.toml"
    for name in (instance.env_file, LOCAL_FILE, lock, "recipes"):
        if _is_plain(f"{root}/{name}"):
            yield _protected(workspace, root, name)
    if not _is_plain(f"{root}/{_GIT}"):
        return
    if not os.path.isdir(f"{root}/{_GIT}"):
        yield _protected(workspace, root, _GIT)
        return
    yield workspace._replace(source=f"{root}/{_GIT}", target=f"{workspace.target}/{_GIT}", within=f"{root}/{_GIT}")
    _make_hooks(instance)
    for directory in (_GIT, *_modules(root)):
        for name in _OF_GIT:
            if _is_plain(f"{root}/{directory}/{name}"):
                yield _protected(workspace, root, f"{directory}/{name}")


def _protected(workspace: Bind, root: str, name: str) -> Bind:
    source = f"{root}/{name}"
    return workspace._replace(source=source, target=f"{workspace.target}/{name}", read_only=True, within=source)


def _is_plain(path: str) -> bool:
    """True for a file or directory; False for a link, whose target would be mounted, and for anything else."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _make_hooks(instance: Instance) -> None:
    """Make the directory of git's hooks if it is missing: inside, one could otherwise be made and filled."""
    with contextlib.suppress(OSError):
        git = os.open(f"{instance.root}/{_GIT}", os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.mkdir("hooks", 0o755, dir_fd=git)
            os.chown("hooks", instance.owner, instance.group, dir_fd=git, follow_symlinks=False)
        finally:
            os.close(git)


def _modules(root: str) -> list[str]:
    """The repositories of submodules below `.git/modules`, relative to the project."""
    found: list[str] = []
    for directory, names, files in os.walk(f"{root}/{_GIT}/modules", followlinks=False):
        if "config" in files or "hooks" in names:
            found.append(os.path.relpath(directory, root))
        names[:] = [name for name in names if name not in ("objects", "refs", "logs", "hooks")]
        if len(found) >= _MODULES:
            break
    return found
