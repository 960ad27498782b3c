"""Removal of devbox's data on the host: everything, or orphaned data.

Only known files of devbox are removed: a DEVBOX_HOME set to a user's home directory keeps all other files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from devbox.doctor.leftovers import (
    KnownInstance,
    find_removable,
    find_unused_volumes,
    list_instances,
    list_running_names,
)
from devbox.engines import capabilities
from devbox.engines.select import select_engine
from devbox.errors import DevboxError
from devbox.execute import installing
from devbox.host import disk, files
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.images.store import snapshots
from devbox.model.spec import Instance
from devbox.records import host_files
from devbox.records.installed import InstalledRecords
from devbox.records.instance import InstanceRecords


@dataclass(frozen=True)
class CleanupItem:
    """Something to remove: description, paths and size in bytes."""

    what: str
    paths: tuple[str, ...]
    size: int


def list_everything(paths: Paths) -> list[CleanupItem]:
    """Return everything that `clean` would remove."""
    instances = list_instances(paths)
    parents = {
        os.path.dirname(path) for path in (paths.project("any"), paths.volumes("any"), paths.volume_snapshots("any"))
    }
    rest = [_make_item(what, (path,)) for path, what in paths.describe_contents().items() if path not in parents]
    installed = [
        _make_item(f"{each.label}: on the host", tuple(file.path for file in each.files))
        for each in InstalledRecords(paths).list_manifests()
    ]
    host = _make_item("release records of this host, and its key if no other home uses it", (paths.host_state,))
    return [
        *(_make_instance_item(paths, instance) for instance in instances),
        *installed,
        *(item for item in (*rest, host) if item.paths),
    ]


def clean(paths: Paths) -> None:
    """Stop and remove everything. DevboxError if another devbox is running."""
    for instance in list_instances(paths):
        _remove_instance(paths, instance)
    _uninstall(paths)
    ImageStore(paths).destroy()
    for path in paths.describe_contents():
        _remove(path)
    _remove(paths.runtime)
    host_files.forget(paths)
    for directory in (paths.home, os.path.dirname(paths.runtime)):
        with contextlib.suppress(OSError):  # contains foreign files, or those of another DEVBOX_HOME
            os.rmdir(directory)


def list_orphans(paths: Paths) -> list[CleanupItem]:
    """Return everything that `prune` would remove."""
    instances = list_instances(paths)
    gone = [_make_instance_item(paths, instance) for instance in find_removable(paths, instances)]
    unused = [
        _make_item(f"project {instance.label}: {volume}, of a deleted branch", (paths.volume(instance.id, volume),))
        for instance in instances
        for volume in find_unused_volumes(paths, instance)
    ]
    return [
        *gone,
        *unused,
        *(_make_item("interrupted bake", (path,)) for path in snapshots.list_abandoned(paths)),
    ]


def prune(paths: Paths) -> None:
    """Remove data of missing projects and deleted branches, and remains of killed builds."""
    instances = list_instances(paths)
    for instance in find_removable(paths, instances):
        _remove_instance(paths, instance)
    for instance in instances:
        if volumes := find_unused_volumes(paths, instance):
            with _lock_instance(paths, instance):
                for volume in volumes:
                    capabilities.open_snapshots(select_engine(paths), _make_instance_stub(instance)).remove_volume(
                        volume
                    )
    ImageStore(paths).sweep()


def list_kept_reasons(paths: Paths) -> list[str]:
    """Return why `prune` keeps stages whose env file is missing, one sentence each."""
    return [f"kept: {each.kept_reason}" for each in list_instances(paths) if each.is_gone and each.is_deployed(paths)]


def list_protected(paths: Paths) -> list[KnownInstance]:
    """Return the deployed stages that only a command with their name may destroy."""
    deployed = [each for each in list_instances(paths) if each.is_deployed(paths)]
    return [each for each in deployed if InstanceRecords(paths, each.id).is_protected()]


def _uninstall(paths: Paths) -> None:
    """Remove the files installed on the host."""
    records = InstalledRecords(paths)
    if records.list_manifests() or records.is_interrupted:
        with files.lock_file(records.lock):
            installing.clear(records)


def _make_instance_item(paths: Paths, instance: KnownInstance) -> CleanupItem:
    running = list_running_names(paths, instance.id)
    what = f"project {instance.label}: containers, volumes, credentials, logs"
    return _make_item(f"{what}; STOPS {', '.join(running)}" if running else what, instance.list_directories(paths))


def _make_item(what: str, candidates: tuple[str, ...]) -> CleanupItem:
    found = tuple(path for path in candidates if os.path.lexists(path))
    return CleanupItem(what, found, sum(map(disk.measure_tree, found)))


def _remove_instance(paths: Paths, instance: KnownInstance) -> None:
    with _lock_instance(paths, instance):
        shell = _make_instance_stub(instance)
        engine = select_engine(paths)
        engine.tear_down(shell, volumes=True)
        for snapshot in capabilities.open_snapshots(engine, shell).list_all():
            capabilities.open_snapshots(engine, shell).delete(snapshot.name)
        _remove(paths.project(instance.id))
        host_files.HostFiles(paths).forget(instance.id)


def _make_instance_stub(instance: KnownInstance) -> Instance:
    """Return the fields of an instance required by engines."""
    return Instance(id=instance.id, name=instance.id, root=instance.root, env_file=instance.env_file, owner=0, group=0)


@contextlib.contextmanager
def _lock_instance(paths: Paths, instance: KnownInstance) -> Iterator[None]:
    """Hold the instance lock; DevboxError if another devbox holds it."""
    path = paths.lock(instance.id)
    with files.lock_file(path, wait=False) as acquired:
        if not acquired:
            raise DevboxError(
                f"another devbox (pid {files.read_lock_holder(path)}) is using {instance.label}",
                remedy="try again when it has exited",
            )
        yield


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        disk.remove(path)
    elif os.path.lexists(path):
        os.unlink(path)
