"""Container file system in a private mount namespace: overlay, id maps, binds. Invisible to the host.

Everything is attached below one tmpfs, the stage, which vanishes with the namespace. Its layout: `rootfs` (the merged
root), `l/0 …` (lowerdirs), `t` (the writable layer), `b/0 …` (binds), `p/0 …` (of binds with a writable layer of their
own: `top`, and `all`, the merged directory), `netns`.
"""

from __future__ import annotations

import contextlib
import os
import stat

from devbox.errors import EngineError, HostError
from devbox.isolation import idmap, syscalls
from devbox.isolation.types import Bind, IdMap, InstanceContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# volatile: otherwise a container's exit blocks until the whole host disk is synced.
_OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off,volatile"
# Refers to a descriptor's file even if its path has changed.
_FD_PATH = "/proc/self/fd/{}"


def create_stage(stage: str) -> None:
    """Move this process into its own mount namespace, with an empty stage mounted on the directory `stage`."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", stage, "tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, options="mode=0711")


def prepare_writable_layer(top: str, ids: IdMap) -> None:
    """Create a writable layer (`upper/`, `work/`) owned by container root; keep an existing one.

    Overlayfs marks a volatile layer against reuse after a host crash. Data that must survive a crash is synced by its
    writer (an engine, after a setup), so the mark is removed.
    """
    os.makedirs(top, mode=0o711, exist_ok=True)
    uid, gid = (0, 0) if ids.rootless else (ids.uids[0].outside, ids.gids[0].outside)
    for name in ("upper", "work"):
        path = f"{top}/{name}"
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
            os.chown(path, uid, gid)
    marks = f"{top}/work/work/incompat"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{marks}/volatile/dirty")
        os.rmdir(f"{marks}/volatile")
        os.rmdir(marks)


def mount_root(stage: str, *, lowers: tuple[str, ...], top: str, userns: int | None) -> str:
    """Mount the overlay of `lowers` (topmost first) and `top`; return the merged directory.

    `userns` is a descriptor of the store's user namespace if lowerdirs have container ids on disk (root), None if they
    have the user's own. The option string uses short relative paths: it must fit a page for any number of lowers.
    """
    for directory in ("rootfs", "l", "t"):
        os.mkdir(f"{stage}/{directory}")
    syscalls.attach_mount(syscalls.clone_mount(top, recursive=False), f"{stage}/t")
    for number, lower in enumerate(lowers):
        target = f"{stage}/l/{number}"
        os.mkdir(target)
        attributes = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV
        _attach(lower, target, attributes=attributes, userns=userns, recursive=False)
    os.chdir(stage)
    chain = ":".join(f"l/{number}" for number in range(len(lowers))) or "l"  # an image without layers: nothing below
    options = f"lowerdir={chain},upperdir=t/upper,workdir=t/work,{_OPTIONS}"
    if userns is None:
        options += ",userxattr"
    syscalls.mount("overlay", "rootfs", "overlay", flags=syscalls.MS_NODEV, options=options)
    return f"{stage}/rootfs"


def complete_root(root: str, directories: tuple[str, ...], ids: IdMap) -> None:
    """Add Docker's extras to the layers: /etc with the link mtab, and the volumes' directories.

    Existing entries stay; the image's own symlinks are resolved inside the root.
    """
    owner = (0, 0) if ids.rootless else (ids.uids[0].outside, ids.gids[0].outside)
    for path in ("/etc", *directories):
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts)):
            _create_missing(
                root,
                "/".join(parts[:depth]),
                parts[depth],
                owner,
                make=lambda name, fd: os.mkdir(name, 0o755, dir_fd=fd),
            )
    _create_missing(root, "etc", "mtab", owner, make=lambda name, fd: os.symlink("/proc/mounts", name, dir_fd=fd))


def _create_missing(
    root: str, above: str, name: str, owner: tuple[int, int], *, make: Callable[[str, int], None]
) -> None:
    """Create a missing entry in a directory, if that is a directory."""
    with contextlib.suppress(OSError):
        directory = syscalls.open_inside(root, f"/{above}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            make(name, directory)
            os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)


def stage_binds(
    stage: str, binds: tuple[Bind, ...], owners: dict[tuple[int, int], int], *, ids: IdMap, userns: int | None
) -> tuple[Bind, ...]:
    """Attach every bind's source below the stage, where the mapped root can reach it; return the staged binds.

    `owners` has a user namespace descriptor for each (owner, group) that requires an id-mapped mount; `ids` are the
    store's, `userns` as in `mount_root`.
    """
    os.mkdir(f"{stage}/b")
    os.mkdir(f"{stage}/p")
    staged = []
    for number, bind in enumerate(binds):
        if bind.lowers:
            staged.append(bind._replace(source=_mount_merged(stage, number, bind.lowers, userns=userns)))
            continue
        source = f"{stage}/b/{number}"
        if bind.within == bind.source and bind.read_only and not os.path.lexists(bind.source):
            continue  # a protected file of the project that was removed since
        descriptor = _open_source(bind)
        try:
            facts = os.fstat(descriptor)
            is_directory = stat.S_ISDIR(facts.st_mode)
            if is_directory:
                os.mkdir(source)
            else:
                os.close(os.open(source, os.O_CREAT | os.O_WRONLY, 0o644))
            attributes = syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOSUID
            if bind.read_only or bind.top:
                attributes |= syscalls.MOUNT_ATTR_RDONLY
            mapped = owners.get(get_owner(bind)) if bind.owner is not None else None
            _attach(bind.source, source, attributes=attributes, userns=mapped, recursive=True, descriptor=descriptor)
        finally:
            os.close(descriptor)
        if bind.top and is_directory:
            source = _mount_with_top(stage, number, bind.top, mode=stat.S_IMODE(facts.st_mode), ids=ids)
        staged.append(bind._replace(source=source))
    return tuple(staged)


def _mount_merged(stage: str, number: int, lowers: tuple[str, ...], *, userns: int | None) -> str:
    """Mount layers read-only; return the merged directory."""
    place = f"{stage}/p/{number}"
    attributes = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOSUID
    for directory in (place, f"{place}/all"):
        os.mkdir(directory)
    for at, lower in enumerate(lowers):
        os.mkdir(f"{place}/{at}")
        _attach(lower, f"{place}/{at}", attributes=attributes, userns=userns, recursive=False)
    if len(lowers) == 1:  # an overlay without an upperdir requires two lowerdirs
        return f"{place}/0"
    os.chdir(place)
    options = f"lowerdir={':'.join(map(str, range(len(lowers))))},redirect_dir=nofollow,metacopy=off"
    if userns is None:
        options += ",userxattr"
    flags = syscalls.MS_NODEV | syscalls.MS_NOSUID | syscalls.MS_RDONLY
    syscalls.mount("overlay", "all", "overlay", flags=flags, options=options)
    return f"{place}/all"


def _mount_with_top(stage: str, number: int, top: str, *, mode: int, ids: IdMap) -> str:
    """Mount an overlay with its own writable layer over an attached directory; return it. Its mode is the source's."""
    fresh = not os.path.isdir(f"{top}/upper")
    prepare_writable_layer(top, ids)
    if fresh:
        os.chmod(f"{top}/upper", mode)
    place = f"{stage}/p/{number}"
    for directory in (place, f"{place}/top", f"{place}/all"):
        os.mkdir(directory)
    syscalls.attach_mount(syscalls.clone_mount(top, recursive=False), f"{place}/top")
    os.chdir(stage)  # the option string must fit a page
    options = f"lowerdir=b/{number},upperdir=p/{number}/top/upper,workdir=p/{number}/top/work,{_OPTIONS}"
    if ids.rootless:
        options += ",userxattr"
    flags = syscalls.MS_NODEV | syscalls.MS_NOSUID
    syscalls.mount("overlay", f"p/{number}/all", "overlay", flags=flags, options=options)
    return f"{place}/all"


def _open_source(bind: Bind) -> int:
    """Open the source, so that the checked file is the mounted one even if a container changes the path."""
    descriptor = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
    real = os.readlink(_FD_PATH.format(descriptor))
    if bind.within and real != bind.within and not real.startswith(f"{bind.within}/"):
        os.close(descriptor)
        raise EngineError(
            f"cannot mount {bind.source} at {bind.target}: link out of the project, to {real}",
            remedy=f"see its owner: ls -ld {bind.source}",
        )
    return descriptor


def get_owner(bind: Bind) -> tuple[int, int]:
    """Return the key of a bind's id map."""
    owner = bind.owner or 0
    return owner, owner if bind.group is None else bind.group


def build_owner_maps(context: InstanceContext, binds: tuple[Bind, ...]) -> dict[tuple[int, int], IdMap]:
    """Return the id maps for a container's binds; empty for an ordinary user, who cannot create such mounts."""
    if context.idmap.rootless:
        return {}
    keys = {get_owner(bind) for bind in binds if bind.owner is not None}
    return {key: idmap.build_owner_map(context.idmap, owner=key[0], group=key[1]) for key in keys}


def _map_ids(tree: int, userns: int, source: str, *, recursive: bool) -> None:
    """Apply a user namespace's id map to a detached mount; raise HostError if the file system does not support it."""
    try:
        syscalls.set_mount_attributes(tree, syscalls.MOUNT_ATTR_IDMAP, userns=userns, recursive=recursive)
    except OSError as error:
        raise HostError(
            f"cannot mount {source}: its file system, or one mounted below it, does not support id-mapped mounts",
            details=error.strerror or "",
            remedy="move it to a local file system (ext4, xfs, btrfs, tmpfs), or run devbox as its owner",
        ) from None


def _attach(
    source: str, target: str, *, attributes: int, userns: int | None, recursive: bool, descriptor: int | None = None
) -> None:
    """Bind `source` at `target` with mount attributes, id-mapped if a user namespace is given.

    `descriptor`: a descriptor of the source, if its path may have changed.
    """
    tree = syscalls.clone_mount(source if descriptor is None else _FD_PATH.format(descriptor), recursive=recursive)
    try:
        if userns is not None:
            _map_ids(tree, userns, source, recursive=recursive)
        syscalls.set_mount_attributes(tree, attributes, recursive=recursive)
        syscalls.attach_mount(tree, target)
    finally:
        os.close(tree)
