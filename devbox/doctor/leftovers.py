"""Leftovers of projects: dead supervisors, missing directories, interrupted work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from devbox.doctor import storage
from devbox.doctor.checks import OK, WARNING, CheckContext, CheckResult
from devbox.engines.native import data_dirs
from devbox.errors import DevboxError, EngineError
from devbox.host.disk import format_size, measure_tree
from devbox.host.paths import Paths
from devbox.host.project import identify
from devbox.host.repository import layout
from devbox.images.store import snapshots
from devbox.isolation import state
from devbox.plan import branches
from devbox.records.deployed import DeployedRecord
from devbox.records.host_files import HostFiles
from devbox.records.instance import InstanceRecords
from devbox.records.projects import PlaceRecord


def find_abandoned_volumes(paths: Paths, instance: str, root: str) -> tuple[str, ...]:
    """Return the volumes of branches deleted in `root`; empty if git does not list branches."""
    own = [name for name in data_dirs.list_volumes(paths, instance) if branches.strip_branch(name) != name]
    known = layout.list_branches(root) if own and root else None
    if not known:
        return ()
    try:
        last = InstanceRecords(paths, instance).read_last_applied().specs.values()
    except DevboxError:  # the used volumes are unknown
        return ()
    used = {mount.source for spec in last for mount in spec.mounts}
    kept = {branches.name_volume(branches.strip_branch(name), branch) for name in own for branch in known}
    return tuple(name for name in own if name not in kept | used)


_LISTED = 3


@dataclass(frozen=True)
class KnownInstance:
    """An instance known to this DEVBOX_HOME or the runtime directory. `root` is "" if not recorded.

    `stage`: stage of the project that runs in the instance.
    """

    id: str
    root: str
    env_file: str
    stage: str = ""

    @property
    def is_gone(self) -> bool:
        """True if its env file was removed or moved."""
        return bool(self.root) and not os.path.exists(f"{self.root}/{self.env_file}")

    def is_project(self, paths: Paths) -> bool:
        """True unless the instance is a stage or a test cell; an unknown instance may be a project."""
        return not self.root or self.id == identify(paths, self.root, self.env_file)

    def is_deployed(self, paths: Paths) -> bool:
        """True for a stage with a deployed release: only a command with its name may remove the stage.

        A stage with data was deployed, even if its record was lost; so was any stage unknown to this host.
        """
        if DeployedRecord(paths, self.id).exists:
            return True
        return bool(self.stage) and (os.path.isdir(paths.volumes(self.id)) or not HostFiles(paths).is_known)

    @property
    def label(self) -> str:
        """Name for the user."""
        return f"{self.root} ({self.stage})" if self.stage else self.root or f"instance {self.id}"

    @property
    def kept_reason(self) -> str:
        """Reason to keep a stage without its env file."""
        return f"{self.stage} of {self.root} has a deployed release, but {self.root}/{self.env_file} is missing"

    @property
    def up_command(self) -> str:
        """Command that brings it up again."""
        return f"devbox -C {self.root or 'DIR'} {f'promote {self.stage}' if self.stage else 'up'}"

    @property
    def down_command(self) -> str:
        """Command that stops it."""
        return f"devbox -C {self.root or 'DIR'} down{f' --stage {self.stage}' if self.stage else ''}"

    def list_directories(self, paths: Paths) -> tuple[str, ...]:
        """Return all directories used only by this instance."""
        kept = paths.project(self.id), paths.host_project(self.id)
        return *kept, paths.volumes(self.id), paths.volume_snapshots(self.id), paths.instance_runtime(self.id)


def list_instances(paths: Paths) -> list[KnownInstance]:
    """Return every instance with data on this host."""
    ids: set[str] = set()
    for directory in (paths.projects, paths.data, paths.runtime, os.path.dirname(paths.host_project("any"))):
        if os.path.isdir(directory):
            ids |= {entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)}
    return [KnownInstance(key, *_read_place(paths, key)) for key in sorted(ids)]


def find_deployment_owners(instances: Iterable[KnownInstance], paths: Paths) -> frozenset[str]:
    """Return the instance IDs that `doctor --prune` must keep: deployed stages and their projects."""
    deployed = [each for each in instances if each.is_deployed(paths)]
    return frozenset(
        {each.id for each in deployed} | {identify(paths, each.root, each.env_file) for each in deployed if each.root}
    )


def find_removable(paths: Paths, instances: list[KnownInstance]) -> list[KnownInstance]:
    """Return the instances without env file, except deployed ones and those whose directory moved.

    The owner of an instance's releases is known to the host, independent of files below DEVBOX_HOME.
    """
    owners = find_deployment_owners(instances, paths)
    gone = (each for each in instances if each.is_gone and each.id not in owners)
    return [
        each
        for each in gone
        if not (storage.find_moved_directory(paths, each.id) or PlaceRecord(paths, each.id).is_present())
    ]


def list_running_names(paths: Paths, instance: str) -> list[str]:
    """Return the running containers of an instance, supervised or not; empty if unknown."""
    try:
        _, now = state.observe_state(paths, instance)
    except EngineError:
        return []
    return [row.name for row in now.containers if row.process is not None] if now else []


def _read_place(paths: Paths, key: str) -> tuple[str, str, str]:
    records = InstanceRecords(paths, key)
    try:
        return *records.read_place(), records.read_stage()
    except DevboxError:  # damaged, or written by a newer devbox: unknown location
        return "", "", ""


def find_unused_volumes(paths: Paths, instance: KnownInstance) -> tuple[str, ...]:
    """Return the volumes of deleted branches. None for a stage: its data belongs to no branch."""
    if instance.is_gone or instance.stage:
        return ()
    return find_abandoned_volumes(paths, instance.id, instance.root)


def check_leftovers(context: CheckContext) -> Iterator[CheckResult]:
    """Report leftovers as warnings; `down`, `up` or `--prune` handle them."""
    instances = list_instances(context.paths)
    findings = [
        *(finding for instance in instances for finding in _check_dead_supervisor(context.paths, instance)),
        *(finding for instance in instances for finding in _check_moved(context.paths, instance)),
        *_report_gone(context.paths, find_removable(context.paths, instances)),
        *_report_kept([each for each in instances if each.is_gone and each.is_deployed(context.paths)]),
        *(finding for instance in instances for finding in _check_branches(context.paths, instance)),
        *_check_interrupted_bakes(context.paths),
    ]
    yield from findings or [CheckResult("leftovers", OK, "none")]


def _check_dead_supervisor(paths: Paths, instance: KnownInstance) -> Iterator[CheckResult]:
    """Report an instance with a dead supervisor that was not stopped by `down`."""
    if not os.path.isdir(paths.instance_runtime(instance.id)) or instance.is_gone:
        return
    if state.observe_state(paths, instance.id)[0]:
        return
    if running := list_running_names(paths, instance.id):
        sentence = f"the supervisor of {instance.label} was killed; still running: {', '.join(running)}"
        yield CheckResult("leftovers", WARNING, sentence, instance.up_command)
    else:
        sentence = f"{instance.label} was not shut down: its supervisor is not running"
        yield CheckResult("leftovers", WARNING, sentence, instance.down_command)


def _report_gone(paths: Paths, instances: list[KnownInstance]) -> Iterator[CheckResult]:
    if instances:
        size = sum(measure_tree(path) for instance in instances for path in instance.list_directories(paths))
        names = ", ".join(instance.root for instance in instances[:_LISTED])
        more = f" and {len(instances) - _LISTED} more" if len(instances) > _LISTED else ""
        sentence = f"{format_size(size)} of missing projects: {names}{more}"
        yield CheckResult("leftovers", WARNING, sentence, "devbox doctor --prune")


def _check_moved(paths: Paths, instance: KnownInstance) -> Iterator[CheckResult]:
    """Report an instance whose directory moved while its containers run."""
    if instance.is_gone and not instance.stage and (place := storage.find_moved_directory(paths, instance.id)):
        names = ", ".join(list_running_names(paths, instance.id))
        yield CheckResult(
            "leftovers",
            WARNING,
            f"{instance.root} was moved to {place}; still running: {names}",
            f"devbox -C {place} up",
        )


def _report_kept(instances: list[KnownInstance]) -> Iterator[CheckResult]:
    for each in instances:
        sentence = f"{each.kept_reason}: the stage and its data are kept"
        yield CheckResult("leftovers", WARNING, sentence, f"restore {each.env_file} in {each.root}")


def _check_branches(paths: Paths, instance: KnownInstance) -> Iterator[CheckResult]:
    if found := find_unused_volumes(paths, instance):
        size = format_size(sum(measure_tree(paths.volume(instance.id, volume)) for volume in found))
        sentence = f"{size} of deleted branches of {instance.label}: {', '.join(found[:_LISTED])}"
        yield CheckResult("leftovers", WARNING, sentence, "devbox doctor --prune")


def _check_interrupted_bakes(paths: Paths) -> Iterator[CheckResult]:
    if left := snapshots.list_abandoned(paths):
        size = format_size(sum(map(measure_tree, left)))
        yield CheckResult("leftovers", WARNING, f"{size} of interrupted bakes", "devbox doctor --prune")
