"""Stages of the env file, and the copy that rollback and abort use if the file is invalid.

The file as of the last promotion is kept per project (`promoted.json`) and per stage (`backing.json`), in the
configuration directory (`records/host_files.py`). The copy of a stage with variables from env files, which may be
secret, is on tmpfs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from devbox.envfile import stage_services
from devbox.envfile.expand import list_credentials
from devbox.envfile.load import EnvFile
from devbox.envfile.load import load as read
from devbox.errors import DevboxError, EnvFileError, UsageError
from devbox.execute import locks
from devbox.execute.events import Note, Sink
from devbox.execute.grant_checks import check_grants_by_vars
from devbox.host import files
from devbox.model import codec, jsontext
from devbox.model.frozen import dataclass
from devbox.model.router import StickyKey
from devbox.model.spec import Desired, Instance, Spec
from devbox.model.stage import Deployment, Stage
from devbox.plan import order
from devbox.project import Project, prepare
from devbox.records.host_files import HostFiles
from devbox.records.projects import PlaceRecord

FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class StageFile:
    """Settings of the env file for deployments in a stage: services and the sticky-session key."""

    backing: stage_services.Backing
    known_by: StickyKey | None


@dataclass(frozen=True, kw_only=True)
class StageFileReading:
    """Settings read for a deployment. `copy`: path of the copy that rollbacks read; "" if read from it."""

    file: StageFile
    copy: str


def remember(project: Project, spec: Spec) -> None:
    """Store the stages and keys of the file for `load_with_fallback`, without container variables.

    Also records the project that owns the releases.
    """
    PlaceRecord(project.paths, project.id).check(project.root, project.env_file, begins=True)
    kept = Desired(
        instance=spec.instance,
        images={},
        containers={},
        release=spec.release,
        stages=spec.stages,
        approvers=spec.approvers,
        builders=spec.builders,
    )
    HostFiles(project.paths).write(_locate_stored(project), _serialize(kept))


def load_with_fallback(project: Project, sink: Sink | None = None, *, fresh: bool = False) -> Desired:
    """Load the env file; if it is invalid, as of the last promotion, with a note to `sink`.

    `fresh`: bypass the cache. EnvFileError if the file is invalid and nothing was promoted before. HostError if the
    promoted state belongs to another project.
    """
    PlaceRecord(project.paths, project.id).check(project.root, project.env_file)
    try:
        return prepare(project, fresh=fresh)
    except EnvFileError as error:
        kept = _parse_stored(Desired, HostFiles(project.paths).read(_locate_stored(project)))
        if kept is None:
            raise
        if sink:
            sink(Note(text=f"{error.where}: {error.sentence}; using the file as of the last promotion"))
        return kept


class StageFiles:
    """A stage's part of the env file, and the copy of it stored by deployments."""

    def __init__(self, project: Project, place: Project, *, stage: str) -> None:
        """`place` is the stage's own instance of the project."""
        self._project = project
        self._place = place
        self._stage = stage
        self._lasting = place.paths.stage_services(place.id)
        self._fleeting = f"{place.paths.instance_runtime(place.id)}/backing.json"
        self._files = HostFiles(place.paths)

    def read(self, deployment: Deployment, instance: Instance, *, newer: StageFile | None = None) -> StageFileReading:
        """Return the locked services of a deployment; the stored copy if the file is invalid or misses one.

        `newer`: read for another deployment, which will be stored; it overrides the stored copy.
        """
        needs = [need for need in deployment.release.config.needs if need not in deployment.stage.external]
        try:
            env = read(self._project.root, file=self._project.env_file).select_stage(self._stage)
            found = self._read_file(env, needs, deployment, instance)
        except EnvFileError:
            kept = self._read_stored()
            kept = _merge(kept, newer) if newer else kept
            if kept is None or not kept.backing.containers.keys() >= set(needs):
                raise
            return StageFileReading(file=replace(kept, backing=_filter_backing(kept.backing, needs, instance)), copy="")
        return StageFileReading(file=found, copy=self._fleeting if env.env_files else self._lasting)

    def _read_file(self, env: EnvFile, needs: list[str], deployment: Deployment, instance: Instance) -> StageFile:
        credentials = self._place.records.ensure_credentials(list_credentials(env))
        found = stage_services.resolve_backing(
            env, needs, instance=instance, credentials=credentials, where=deployment.stage.where
        )
        check_grants_by_vars(self._project, found.resolved)
        images = {**found.resolved.images, stage_services.ROUTER: stage_services.build_router_image()}
        locked = locks.Locks(instance).apply(found.resolved.derive(images=images))
        applied = Desired.from_locked(locked, images=locked.images)
        known_by = stage_services.find_sticky_key(env, self._stage)
        return StageFile(backing=replace(found, resolved=applied), known_by=known_by)

    def store(self, reading: StageFileReading) -> None:
        """Merge into the stored copy: a rollback may need a service that the file no longer has.

        The copy on tmpfs, and with it what only it has, is lost when the host restarts.
        """
        if not reading.copy:
            return
        found = reading.file
        if reading.copy == self._fleeting:
            merged = _merge(self._read_stored(), found)
            os.makedirs(os.path.dirname(self._fleeting), mode=0o711, exist_ok=True)
            files.write_atomic(self._fleeting, _serialize(merged), mode=0o600)
            self._files.remove(self._lasting)
        else:  # not merged with the copy on tmpfs: its variables may be secret
            self._files.write(self._lasting, _serialize(_merge(self._read_lasting(), found)))

    def _read_stored(self) -> StageFile | None:
        """Return both copies; the lasting one is newer if both exist."""
        fleeting = _parse_stored(StageFile, files.read_text(self._fleeting))
        lasting = self._read_lasting()
        return _merge(fleeting, lasting) if lasting else fleeting

    def _read_lasting(self) -> StageFile | None:
        return _parse_stored(StageFile, self._files.read(self._lasting))


def _merge(before: StageFile | None, now: StageFile) -> StageFile:
    return replace(now, backing=_merge_backing(before.backing, now.backing)) if before else now


def _filter_backing(
    backing: stage_services.Backing, needs: Iterable[str], instance: Instance
) -> stage_services.Backing:
    """Return the part of a stored backing required by these needs."""
    needs = tuple(needs)
    known = backing.resolved.containers
    names = order.add_needs([backing.containers[need] for need in needs], known)
    containers = {name: spec for name, spec in known.items() if name in names}
    desired = order.list_lineage(
        [*(spec.image for spec in containers.values()), stage_services.ROUTER], backing.resolved.images
    )
    images = {name: backing.resolved.images[name] for name in desired}
    return stage_services.Backing(
        resolved=backing.resolved.derive(instance=instance, containers=containers, images=images),
        containers={need: backing.containers[need] for need in needs},
        exports={need: backing.exports[need] for need in needs},
    )


def _merge_backing(before: stage_services.Backing, now: stage_services.Backing) -> stage_services.Backing:
    """Return the union, newer entries first."""
    old, new = before.resolved, now.resolved
    return stage_services.Backing(
        resolved=new.derive(
            images={**old.images, **new.images},
            containers={**old.containers, **new.containers},
            recipes={**old.recipes, **new.recipes},
        ),
        containers={**before.containers, **now.containers},
        exports={**before.exports, **now.exports},
    )


def _locate_stored(project: Project) -> str:
    return project.paths.promoted_stages(project.id)


def _parse_stored(kind: type[T], text: str | None) -> T | None:
    """Parse a stored copy; None if it is missing or in an unknown format."""
    try:
        plain: Mapping[str, object] = jsontext.loads(text or "{}")
        return codec.load(kind, plain["kept"]) if plain.get("format") == FORMAT else None
    except (ValueError, KeyError, TypeError, AttributeError, DevboxError):
        return None


def _serialize(value: Desired | StageFile) -> str:
    return json.dumps({"format": FORMAT, "kept": codec.dump(value)})


def find_stage(spec: Spec, name: str) -> Stage:
    """Return a stage of the file by name. UsageError if it does not exist."""
    if name in spec.stages:
        return spec.stages[name]
    known = ", ".join(spec.stages)
    raise UsageError(
        f"stage {name} not found in {spec.instance.env_file}",
        remedy=f"known: {known}" if known else f"add [stage.{name}]; for details: devbox docs stages",
    )
