"""What git needs in a container that has the project: who commits and how, and a worktree's repository."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from devbox.engines import native_layers
from devbox.host import files, gitconfig, worktree
from devbox.host.paths import Paths, hash_name
from devbox.isolation.idmap import outside
from devbox.isolation.types import Bind, IdMap

if TYPE_CHECKING:
    from devbox.model.resolved import Instance

_CONFIG = "/etc/gitconfig"  # git's system-wide one: what is set inside, with --global, wins
_SIGNER = "/usr/bin/ssh-keygen"  # git makes SSH signatures with it


def binds(
    paths: Paths, instance: Instance, workspace: str, lowers: tuple[str, ...], *, idmap: IdMap
) -> tuple[Bind, ...]:
    """The mounts of a container of this image that has the project at `workspace`."""
    files.runtime_dir(paths.runtime)  # no supervisor may have made it yet
    return (
        _config(paths, instance, workspace, lowers),
        *_repository(paths, instance, workspace, idmap),
    )


def _config(paths: Paths, instance: Instance, workspace: str, lowers: tuple[str, ...]) -> Bind:
    """The caller's git configuration. The image's own comes first: it loses."""
    image = native_layers.read(lowers, _CONFIG)
    signs = native_layers.find(lowers, _SIGNER) is not None
    own = gitconfig.flatten(gitconfig.of_caller(instance.root), workspace, signs=signs)
    text = f"{image}\n{own}".lstrip()
    return Bind(_kept(paths, instance, "git", text, mode=0o644), _CONFIG, read_only=True)


def _repository(paths: Paths, instance: Instance, workspace: str, idmap: IdMap) -> tuple[Bind, ...]:
    """The repository of a linked worktree, as its owner's.

    Git renews the file that says where the worktree is, once a day, by what it sees; it gets a copy for that, or else
    it would write down a path that only containers have.
    """
    found = worktree.repository(instance.root, workspace, owner=instance.owner)
    if found is None:
        return ()
    common = Bind(found.common, found.target, within=found.common)
    copy = _kept(paths, instance, "worktree", f"{workspace}/.git\n", mode=0o666)
    if not idmap.rootless:
        common = common._replace(owner=instance.owner, group=instance.group)
        os.chown(copy, outside(idmap.uids, 0), outside(idmap.gids, 0))  # only its owner may set its times
    return (common, Bind(copy, found.backlink))


def _kept(paths: Paths, instance: Instance, kind: str, text: str, *, mode: int) -> str:
    """A file for containers to see. Nobody else on this machine can look into its directory; their users can."""
    kept = files.private_dir(paths.kept(instance.id), mode=0o700)
    source = f"{kept}/{kind}.{hash_name(repr(text))}"
    files.write_atomic(source, text.encode(errors="surrogateescape"), mode=mode)
    return source
