"""Removing what devbox left on this machine: all of it, or what belongs to nobody any more.

Only what devbox is known to make is touched: a DEVBOX_HOME that points into somebody's home keeps everything else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from devbox.doctor.projects import Known, known, removable, running_names, unused_volumes
from devbox.engines.select import select
from devbox.errors import DevboxError
from devbox.execute import installing
from devbox.host import files, removal
from devbox.host.paths import Paths
from devbox.host.sizes import tree_size
from devbox.images import snapshots
from devbox.images.store import ImageStore
from devbox.model.install import Manifest
from devbox.model.resolved import Instance
from devbox.records import anchors
from devbox.records.hostfiles import HostFiles
from devbox.records.installed import InstalledRecords
from devbox.records.instance import InstanceRecords


@dataclass(frozen=True)
class Item:
    """Something that is to go: what it is, where it lies, how many bytes it takes."""

    what: str
    paths: tuple[str, ...]
    size: int


def everything(paths: Paths) -> list[Item]:
    """All that `clean` would remove."""
    instances = known(paths)
    parents = {os.path.dirname(path) for path in (paths.project("any"), paths.volumes("any"), paths.saved("any"))}
    rest = [_item(what, (path,)) for path, what in paths.contents().items() if path not in parents]
    installed = [_item(f"{each.label}: on this machine", _files(each)) for each in InstalledRecords(paths).all()]
    host = _item("what this host keeps about releases, and its key if no other home needs it", _of_host(paths))
    return [
        *(_of_instance(paths, instance) for instance in instances),
        *installed,
        *(item for item in (*rest, host) if item.paths),
    ]


def clean(paths: Paths) -> None:
    """Stop and remove everything. DevboxError when another devbox is at work."""
    for instance in known(paths):
        _remove_instance(paths, instance)
    _uninstall(paths)
    ImageStore(paths).destroy()
    for path in paths.contents():
        _remove(path)
    _remove(paths.runtime)
    anchors.forget(paths)
    for directory in (paths.home, os.path.dirname(paths.runtime)):
        with contextlib.suppress(OSError):  # it holds something that is not devbox's, or another DEVBOX_HOME's
            os.rmdir(directory)


def orphans(paths: Paths) -> list[Item]:
    """All that `prune` would remove."""
    instances = known(paths)
    gone = [_of_instance(paths, instance) for instance in removable(paths, instances)]
    unused = [
        _item(f"project {instance.label}: {volume}, of a branch that is gone", (paths.volume(instance.id, volume),))
        for instance in instances
        for volume in unused_volumes(paths, instance)
    ]
    return [*gone, *unused, *(_item("a bake that was broken off", (path,)) for path in snapshots.abandoned(paths))]


def prune(paths: Paths) -> None:
    """Remove what belongs to projects and branches that are no longer there, and what killed bakes left."""
    instances = known(paths)
    for instance in removable(paths, instances):
        _remove_instance(paths, instance)
    for instance in instances:
        if volumes := unused_volumes(paths, instance):
            with _held(paths, instance):
                for volume in volumes:
                    select(paths).snapshots(_shell(instance)).drop(volume)
    ImageStore(paths).sweep()


def kept(paths: Paths) -> list[str]:
    """Why `prune` keeps stages whose env file is missing, a sentence each."""
    return [f"kept: {each.kept_since}" for each in known(paths) if each.is_gone and each.is_deployed(paths)]


def protected(paths: Paths) -> list[Known]:
    """The deployed stages that only a command naming them may destroy."""
    deployed = [each for each in known(paths) if each.is_deployed(paths)]
    return [each for each in deployed if InstanceRecords(paths, each.id).is_protected()]


def _uninstall(paths: Paths) -> None:
    """Take away what was installed on the host."""
    records = InstalledRecords(paths)
    if records.all() or records.broken_off:
        with files.locked(records.lock):
            installing.clear(records)


def _files(manifest: Manifest) -> tuple[str, ...]:
    return tuple(each.path for each in manifest.files)


def _of_instance(paths: Paths, instance: Known) -> Item:
    running = running_names(paths, instance.id)
    what = f"project {instance.label}: containers, volumes, credentials, logs"
    return _item(f"{what}; STOPS {', '.join(running)}" if running else what, instance.directories(paths))


def _of_host(paths: Paths) -> tuple[str, ...]:
    return (paths.host_state,)


def _item(what: str, candidates: tuple[str, ...]) -> Item:
    found = tuple(path for path in candidates if os.path.lexists(path))
    return Item(what, found, sum(map(tree_size, found)))


def _remove_instance(paths: Paths, instance: Known) -> None:
    with _held(paths, instance):
        shell = _shell(instance)
        engine = select(paths)
        engine.teardown(shell, volumes=True)
        for snapshot in engine.snapshots(shell).all():
            engine.snapshots(shell).forget(snapshot.name)
        _remove(paths.project(instance.id))
        HostFiles(paths).forget(instance.id)


def _shell(instance: Known) -> Instance:
    """What an engine has to know of it."""
    return Instance(id=instance.id, name=instance.id, root=instance.root, env_file=instance.env_file, owner=0, group=0)


@contextlib.contextmanager
def _held(paths: Paths, instance: Known) -> Iterator[None]:
    """The instance's lock; nobody is pulled the ground from under the feet."""
    path = paths.lock(instance.id)
    with files.locked(path, wait=False) as mine:
        if not mine:
            raise DevboxError(
                f"another devbox (pid {files.lock_holder(path)}) is at work on {instance.label}",
                remedy="wait until it ends, then do this again",
            )
        yield


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        removal.remove(path)
    elif os.path.lexists(path):
        os.unlink(path)
