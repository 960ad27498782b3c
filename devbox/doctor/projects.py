"""What is left of projects: supervisors that were killed, directories that are gone, work that was broken off."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from devbox.doctor import branches, moved
from devbox.doctor.finding import OK, WARNING, Finding, Ground
from devbox.errors import DevboxError, EngineError
from devbox.host.paths import Paths
from devbox.host.project import identify
from devbox.host.sizes import shown, tree_size
from devbox.images import snapshots
from devbox.isolation import state
from devbox.records.deployed import DeployedRecord
from devbox.records.hostfiles import HostFiles
from devbox.records.instance import InstanceRecords
from devbox.records.places import PlaceRecord

_LISTED = 3


@dataclass(frozen=True)
class Known:
    """An instance of which this DEVBOX_HOME or the runtime directory knows. `root` is "" where it is not recorded.

    `stage`: it is where releases of the project run in that stage.
    """

    id: str
    root: str
    env_file: str
    stage: str = ""

    @property
    def is_gone(self) -> bool:
        """Whether its env file was removed, or moved to another place."""
        return bool(self.root) and not os.path.exists(f"{self.root}/{self.env_file}")

    def is_project(self, paths: Paths) -> bool:
        """Whether it is where people work: no stage, no cell of the tests. What is not known to be one may be."""
        return not self.root or self.id == identify(paths, self.root, self.env_file)

    def is_deployed(self, paths: Paths) -> bool:
        """True if it is a stage to which a release was deployed: only a command that names it may remove it.

        A stage with data was deployed, also if the record of it was lost. So was any that this host knows nothing of.
        """
        if DeployedRecord(paths, self.id).exists:
            return True
        return bool(self.stage) and (os.path.isdir(paths.volumes(self.id)) or not HostFiles(paths).is_known)

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.root} ({self.stage})" if self.stage else self.root or f"instance {self.id}"

    @property
    def kept_since(self) -> str:
        """Why a stage without its env file is kept."""
        return f"{self.stage} of {self.root} runs or ran a release, but {self.root}/{self.env_file} is missing"

    @property
    def up(self) -> str:
        """The command that brings it up again."""
        return f"devbox -C {self.root or 'DIR'} {f'promote {self.stage}' if self.stage else 'up'}"

    @property
    def down(self) -> str:
        """The command that takes it down."""
        return f"devbox -C {self.root or 'DIR'} down{f' --stage {self.stage}' if self.stage else ''}"

    def directories(self, paths: Paths) -> tuple[str, ...]:
        """Everything that is kept of it alone."""
        kept = paths.project(self.id), paths.host_project(self.id)
        return *kept, paths.volumes(self.id), paths.saved(self.id), paths.run(self.id)


def known(paths: Paths) -> list[Known]:
    """Every instance that left something here."""
    ids: set[str] = set()
    for directory in (paths.projects, paths.data, paths.runtime, os.path.dirname(paths.host_project("any"))):
        if os.path.isdir(directory):
            ids |= {entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)}
    return [Known(key, *_place(paths, key)) for key in sorted(ids)]


def owners_of_deployments(instances: Iterable[Known], paths: Paths) -> frozenset[str]:
    """The ids of the instances that `doctor --prune` must keep: deployed stages, and the projects they belong to."""
    deployed = [each for each in instances if each.is_deployed(paths)]
    return frozenset(
        {each.id for each in deployed} | {identify(paths, each.root, each.env_file) for each in deployed if each.root}
    )


def removable(paths: Paths, instances: list[Known]) -> list[Known]:
    """The instances whose env file is missing, without deployed ones and those whose directory is known elsewhere.

    Where releases of an instance belong is known to this host, whatever a file below DEVBOX_HOME says of its place.
    """
    owners = owners_of_deployments(instances, paths)
    gone = (each for each in instances if each.is_gone and each.id not in owners)
    return [each for each in gone if not (moved.find(paths, each.id) or PlaceRecord(paths, each.id).is_there())]


def running_names(paths: Paths, instance: str) -> list[str]:
    """The containers of an instance that run now, supervised or not; none where that is not known."""
    try:
        _, now = state.look(paths, instance)
    except EngineError:
        return []
    return [row.name for row in now.containers if row.process is not None] if now else []


def _place(paths: Paths, key: str) -> tuple[str, str, str]:
    records = InstanceRecords(paths, key)
    try:
        return *records.place(), records.stage()
    except DevboxError:  # damaged, or a newer devbox's: its place is not known
        return "", "", ""


def unused_volumes(paths: Paths, instance: Known) -> tuple[str, ...]:
    """The volumes of git branches that are gone. None of a stage: its data belongs to no branch."""
    if instance.is_gone or instance.stage:
        return ()
    return branches.abandoned(paths, instance.id, instance.root)


def leftovers(ground: Ground) -> Iterator[Finding]:
    """Nothing of this needs mending at once; it is what `down`, `up` or `--prune` would put in order."""
    instances = known(ground.paths)
    findings = [
        *(finding for instance in instances for finding in _standing(ground.paths, instance)),
        *(finding for instance in instances for finding in _moved(ground.paths, instance)),
        *_gone(ground.paths, removable(ground.paths, instances)),
        *_kept([each for each in instances if each.is_gone and each.is_deployed(ground.paths)]),
        *(finding for instance in instances for finding in _of_branches(ground.paths, instance)),
        *_broken_off(ground.paths),
    ]
    yield from findings or [Finding("leftovers", OK, "none")]


def _standing(paths: Paths, instance: Known) -> Iterator[Finding]:
    """An instance whose supervisor is dead, although nobody took it down."""
    if not os.path.isdir(paths.run(instance.id)) or instance.is_gone:
        return
    if state.look(paths, instance.id)[0]:
        return
    if running := running_names(paths, instance.id):
        sentence = f"the supervisor of {instance.label} was killed; {', '.join(running)} run on without it"
        yield Finding("leftovers", WARNING, sentence, f"{instance.up} takes them over")
    else:
        sentence = f"{instance.label} was not taken down: its supervisor is gone"
        yield Finding("leftovers", WARNING, sentence, instance.down)


def _gone(paths: Paths, instances: list[Known]) -> Iterator[Finding]:
    if instances:
        size = sum(tree_size(path) for instance in instances for path in instance.directories(paths))
        names = ", ".join(instance.root for instance in instances[:_LISTED])
        more = f" and {len(instances) - _LISTED} more" if len(instances) > _LISTED else ""
        sentence = f"{shown(size)} of projects that are no longer there: {names}{more}"
        yield Finding("leftovers", WARNING, sentence, "devbox doctor --prune")


def _moved(paths: Paths, instance: Known) -> Iterator[Finding]:
    """An instance whose directory is elsewhere now; its containers run on."""
    if instance.is_gone and not instance.stage and (place := moved.find(paths, instance.id)):
        names = ", ".join(running_names(paths, instance.id))
        yield Finding(
            "leftovers", WARNING, f"{instance.root} was moved to {place}; {names} run on", f"devbox -C {place} up"
        )


def _kept(instances: list[Known]) -> Iterator[Finding]:
    for each in instances:
        sentence = f"{each.kept_since}: the stage and its data are kept"
        yield Finding("leftovers", WARNING, sentence, f"put {each.env_file} back into {each.root}")


def _of_branches(paths: Paths, instance: Known) -> Iterator[Finding]:
    if found := unused_volumes(paths, instance):
        size = shown(sum(tree_size(paths.volume(instance.id, volume)) for volume in found))
        sentence = f"{size} of branches that are gone, of {instance.label}: {', '.join(found[:_LISTED])}"
        yield Finding("leftovers", WARNING, sentence, "devbox doctor --prune")


def _broken_off(paths: Paths) -> Iterator[Finding]:
    if left := snapshots.abandoned(paths):
        size = shown(sum(map(tree_size, left)))
        yield Finding("leftovers", WARNING, f"{size} of bakes that were broken off", "devbox doctor --prune")
