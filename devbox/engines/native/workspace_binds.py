"""Read-only binds that protect project files over the writable workspace of an isolated container.

These are the files that devbox and git read on the host: the env file, its override, lock and recipes, and git's
configuration and hooks. A mount point can be neither renamed nor removed inside the container; `.git` is one too, so
that it cannot be replaced by another directory. A host program that replaces a file by rename (an editor) lifts its
mount until the container restarts; granting rights in the file still requires `devbox trust`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from devbox.engines.native import image_files
from devbox.host import files, git
from devbox.host.paths import Paths, hash_name
from devbox.host.project import LOCAL_FILE
from devbox.host.repository import layout
from devbox.isolation.idmap import map_to_host
from devbox.isolation.types import Bind, IdMap
from devbox.model.spec import Instance

_GIT = ".git"
_OF_GIT = ("config", "config.worktree", "hooks")
_MODULES = 100  # maximum number of submodules whose configuration is protected


def build_protected_binds(instance: Instance, workspace: Bind) -> Iterator[Bind]:
    """Yield the mounts for a container that has the project writable at `workspace.target`."""
    root, lock = instance.root, f"{instance.env_file.removesuffix('.toml')}.lock.toml"
    for name in (instance.env_file, LOCAL_FILE, lock, "recipes"):
        if _is_plain(f"{root}/{name}"):
            yield _protect_path(workspace, root, name)
    if not _is_plain(f"{root}/{_GIT}"):
        return
    if not os.path.isdir(f"{root}/{_GIT}"):
        yield _protect_path(workspace, root, _GIT)
        return
    yield workspace._replace(source=f"{root}/{_GIT}", target=f"{workspace.target}/{_GIT}", within=f"{root}/{_GIT}")
    _make_hooks(instance)
    for directory in (_GIT, *_list_modules(root)):
        for name in _OF_GIT:
            if _is_plain(f"{root}/{directory}/{name}"):
                yield _protect_path(workspace, root, f"{directory}/{name}")


def _protect_path(workspace: Bind, root: str, name: str) -> Bind:
    source = f"{root}/{name}"
    return workspace._replace(source=source, target=f"{workspace.target}/{name}", read_only=True, within=source)


def _is_plain(path: str) -> bool:
    """True for a regular file or directory; False for a symlink, whose target would be mounted, and all else."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _make_hooks(instance: Instance) -> None:
    """Create git's hooks directory if missing: otherwise the container could create and fill it."""
    with contextlib.suppress(OSError):
        git = os.open(f"{instance.root}/{_GIT}", os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.mkdir("hooks", 0o755, dir_fd=git)
            os.chown("hooks", instance.owner, instance.group, dir_fd=git, follow_symlinks=False)
        finally:
            os.close(git)


def _list_modules(root: str) -> list[str]:
    """Return the repositories of submodules below `.git/modules`, relative to the project."""
    found: list[str] = []
    for directory, names, entries in os.walk(f"{root}/{_GIT}/modules", followlinks=False):
        if "config" in entries or "hooks" in names:
            found.append(os.path.relpath(directory, root))
        names[:] = [name for name in names if name not in ("objects", "refs", "logs", "hooks")]
        if len(found) >= _MODULES:
            break
    return found


_CONFIG = "/etc/gitconfig"  # git's system-wide file: --global settings inside the container take precedence
_SIGNER = "/usr/bin/ssh-keygen"  # git's program for SSH signatures


def build_git_binds(
    paths: Paths, instance: Instance, workspace: str, lowers: tuple[str, ...], *, idmap: IdMap
) -> tuple[Bind, ...]:
    """Return the git mounts of a container of this image that has the project at `workspace`."""
    files.ensure_runtime_dir(paths.runtime)  # the supervisor may not have created it yet
    return (
        _bind_config(paths, instance, workspace, lowers),
        *_bind_repository(paths, instance, workspace, idmap),
    )


def _bind_config(paths: Paths, instance: Instance, workspace: str, lowers: tuple[str, ...]) -> Bind:
    """Return the bind of the caller's git configuration, appended to the image's own, so that it takes precedence."""
    image = image_files.read(lowers, _CONFIG)
    signs = image_files.find(lowers, _SIGNER) is not None
    own = git.flatten(git.read_caller_settings(instance.root), workspace, signs=signs)
    text = f"{image}\n{own}".lstrip()
    return Bind(_write_kept_file(paths, instance, "git", text, mode=0o644), _CONFIG, read_only=True)


def _bind_repository(paths: Paths, instance: Instance, workspace: str, idmap: IdMap) -> tuple[Bind, ...]:
    """Return the binds of a linked worktree's repository, with its owner's ids.

    Once a day, git rewrites the file with the worktree's location; a copy is mounted there, since git would otherwise
    record a path that exists only in containers.
    """
    found = layout.find_worktree(instance.root, workspace, owner=instance.owner)
    if found is None:
        return ()
    common = Bind(found.common, found.target, within=found.common)
    copy = _write_kept_file(paths, instance, "worktree", f"{workspace}/.git\n", mode=0o666)
    if not idmap.rootless:
        common = common._replace(owner=instance.owner, group=instance.group)
        os.chown(copy, map_to_host(idmap.uids, 0), map_to_host(idmap.gids, 0))  # only its owner may set its times
    return (common, Bind(copy, found.backlink))


def _write_kept_file(paths: Paths, instance: Instance, kind: str, text: str, *, mode: int) -> str:
    """Write a file for containers. Its directory is closed to the host's other users, not to container users."""
    kept = files.ensure_private_dir(paths.supervisor_files(instance.id), mode=0o700)
    source = f"{kept}/{kind}.{hash_name(repr(text))}"
    files.write_atomic(source, text.encode(errors="surrogateescape"), mode=mode)
    return source
