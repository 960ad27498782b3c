"""Implementation of `install`: put files of images on the host, remove them, report their state."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from devbox.commands.build import find_baked, make
from devbox.errors import BakeFailed, DevboxError, InstallConflict, NotTrusted, UsageError
from devbox.execute import installing
from devbox.execute.events import Note, Sink
from devbox.host import files
from devbox.model.host_access import InstallAccess
from devbox.model.image import BakedImage
from devbox.model.install import FileConflict, Install, InstalledFile, Manifest
from devbox.plan import installs
from devbox.project import LockPolicy, Project, TrustPolicy, lock_instance, prepare
from devbox.records.installed import InstalledRecords
from devbox.records.trust import TrustRecord

_SHOWN = 6


@dataclass(frozen=True)
class InstallResult:
    """Result of one install. `image` is a digest."""

    name: str
    image: str
    placement: installs.Placement


@dataclass(frozen=True)
class InstallStatus:
    """State of one install: "installed", "changed" or "absent", with the state of each file."""

    name: str
    state: str
    image: str
    files: dict[str, str]


@dataclass(frozen=True)
class _PreparedInstall:
    """An install whose files are extracted and compared with the host."""

    placement: installs.Placement
    sources: dict[str, str]
    before: Manifest | None
    after: Manifest


def install(
    project: Project, sink: Sink, *, names: tuple[str, ...], force: bool = False, set_id: bool = False
) -> list[InstallResult]:
    """Install files of the named installs (default: all) on the host; remove outdated ones.

    Nothing is changed if any file conflicts. `set_id`: keep set-user-ID bits, for root only.
    """
    if set_id and os.geteuid() != 0:
        raise UsageError("--set-id requires root", remedy="sudo devbox install --set-id, or omit --set-id")
    with lock_instance(project, sink), contextlib.ExitStack() as stack:
        desired = prepare(project, lock=LockPolicy.PIN, trust=TrustPolicy.REQUIRE)
        required = installs.select_installs(desired, names)
        _require_trust(project, installs.list_access(desired))
        _, desired = make(project, desired, sink, images=tuple(each.image for each in required))
        records = stack.enter_context(_lock_records(project, sink))
        prepared = []
        for each in required:
            image = find_baked(project, desired, each.image)
            copies = stack.enter_context(_extract(project, each, image))
            found = installing.list_files(each, copies, umask=_read_umask(), set_id=set_id)
            after = _make_manifest(project, each.name, image.digest, tuple(file.installed for file in found))
            sources = {file.installed.path: file.source for file in found}
            prepared.append(_prepare(after, sources, records, force=force))
        _refuse(prepared)
        return [_apply(each, records) for each in prepared]


def uninstall(project: Project, sink: Sink, *, names: tuple[str, ...], force: bool = False) -> list[InstallResult]:
    """Uninstall the named installs, including those no longer in the file (default: all)."""
    with lock_instance(project, sink), _lock_records(project, sink) as records:
        known = {each.name: each for each in records.list_manifests() if each.instance == project.id}
        for name in names:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise UsageError(f"[install.{name}] is not installed", remedy=f"installed: {listed}")
        found = [known[name] for name in dict.fromkeys(names or known)]
        prepared = [
            _prepare(_make_manifest(project, each.name, each.image, ()), {}, records, force=force) for each in found
        ]
        _refuse(prepared)
        return [_apply(each, records) for each in prepared]


def list_installs(project: Project, sink: Sink) -> list[InstallStatus]:
    """Return the installs of the file, and installed ones no longer in the file."""
    with _lock_records(project, sink) as records:
        known = {each.name: each for each in records.list_manifests() if each.instance == project.id}
    try:
        names = tuple(prepare(project).installs)
    except DevboxError as error:  # reported even with an invalid file
        sink(Note(text=error.sentence))
        names = ()
    return [_read_status(name, known.get(name)) for name in dict.fromkeys((*names, *known))]


def _read_status(name: str, manifest: Manifest | None) -> InstallStatus:
    if manifest is None:
        return InstallStatus(name, "absent", "", {})
    states = installs.compute_state(manifest, installing.observe_files(each.path for each in manifest.files))
    whole = all(state == "installed" for state in states.values())
    return InstallStatus(name, "installed" if whole else "changed", manifest.image, states)


@contextlib.contextmanager
def _lock_records(project: Project, sink: Sink) -> Iterator[InstalledRecords]:
    """Lock the records of all projects; first recover an interrupted install."""
    records = InstalledRecords(project.paths)
    with files.lock_file(records.lock):
        if installing.recover(records):
            sink(Note(text=installing.RECOVERED))
        yield records


@contextlib.contextmanager
def _extract(project: Project, each: Install, image: BakedImage) -> Iterator[str]:
    """Yield a directory with copies of the install's files, by number."""
    with contextlib.ExitStack() as stack:
        try:
            copies = stack.enter_context(project.store.extract(image, tuple(each.files.values())))
        except BakeFailed as error:
            error.where = error.where or each.where
            raise
        yield copies


def _require_trust(project: Project, desired: tuple[InstallAccess, ...]) -> None:
    """Raise NotTrusted unless the user has allowed exactly this."""
    if not TrustRecord(project.paths, project.id).covers_install(desired):
        raise NotTrusted(
            f"{desired[0].install} installs {desired[0].place} on the host, which you have not allowed yet",
            where=desired[0].where,
            remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
        )


def _make_manifest(project: Project, name: str, image: str, found: tuple[InstalledFile, ...]) -> Manifest:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Manifest(name=name, project=project.root, instance=project.id, image=image, installed_at=now, files=found)


def _prepare(after: Manifest, sources: dict[str, str], records: InstalledRecords, *, force: bool) -> _PreparedInstall:
    """Compare the desired files with the host."""
    before = records.find(after.instance, after.name)
    others = [each for each in records.list_manifests() if (each.instance, each.name) != (after.instance, after.name)]
    owners = {file.path: each.label for each in others for file in each.files}
    paths = {each.path for each in (*after.files, *(before.files if before else ()))}
    placement = installs.plan_placement(
        after.files, before, installing.observe_files(sorted(paths)), owners, force=force
    )
    return _PreparedInstall(placement, sources, before, after)


def _refuse(prepared: list[_PreparedInstall]) -> None:
    """Raise InstallConflict for conflicts, also among the installs."""
    found = [conflict for each in prepared for conflict in each.placement.conflicts]
    taken: dict[str, str] = {}
    for each in prepared:
        for file in each.after.files:
            if file.path in taken:
                why = f"is installed by [install.{taken[file.path]}] and [install.{each.after.name}]"
                found.append(FileConflict(path=file.path, why=why, final=True))
            taken[file.path] = each.after.name
    if not found:
        return
    lines = [f"{each.path} {each.why}" for each in found[:_SHOWN]]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    final = any(each.final for each in found)
    raise InstallConflict(
        f"cannot install: {len(found)} file{'s conflict' if len(found) > 1 else ' conflicts'}; nothing was changed",
        details="\n".join([*lines, *more]),
        remedy="move it, or choose another path in files" if final else "check it, then replace it with --force",
    )


def _apply(prepared: _PreparedInstall, records: InstalledRecords) -> InstallResult:
    placement, after = prepared.placement, prepared.after
    if placement or not after.files or prepared.before is None:
        installing.apply(placement, prepared.sources, before=prepared.before, after=after, records=records)
    elif after.image != prepared.before.image:
        records.store(replace(after, directories=prepared.before.directories))
    return InstallResult(after.name, after.image, placement)


def _read_umask() -> int:
    """Return the caller's umask."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
