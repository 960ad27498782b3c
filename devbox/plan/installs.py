"""Host changes of `devbox install`, and conflicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import UsageError
from devbox.model.frozen import dataclass
from devbox.model.host_access import InstallAccess
from devbox.model.install import FileConflict, HostEntry, Install, InstalledFile, Manifest
from devbox.model.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Files to write, remove and keep, and the conflicts that require a decision of the user."""

    put: tuple[InstalledFile, ...] = ()
    remove: tuple[InstalledFile, ...] = ()
    keep: tuple[InstalledFile, ...] = ()
    conflicts: tuple[FileConflict, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.remove)


def plan_placement(
    required: tuple[InstalledFile, ...],
    own: Manifest | None,
    found: Mapping[str, HostEntry | None],
    owners: Mapping[str, str],
    *,
    force: bool,
) -> Placement:
    """Return the changes from the installed to the wanted files; no wanted files means uninstall.

    `found`: current file of each path; `owners`: other install that owns a path. `force` replaces or removes modified
    and foreign files, never directories.
    """
    before = {each.path: each for each in own.files} if own else {}
    after = {each.path: each for each in required}
    gone = tuple(each for path, each in before.items() if path not in after and found.get(path) is not None)
    put = tuple(each for each in required if not _is_present(each, found.get(each.path)))
    kept = tuple(each for each in required if each not in put)
    foreign = (
        each for each in kept if each.path not in before
    )  # identical by chance: owned and removed by another install
    at_stake = [each.path for each in (*put, *gone, *foreign)]
    conflicts = (_find_conflict(path, before.get(path), found.get(path), owners.get(path, "")) for path in at_stake)
    standing = tuple(each for each in conflicts if each is not None and (each.final or not force))
    return Placement(put=put, remove=tuple(_adopt_found(each, found) for each in gone), keep=kept, conflicts=standing)


def compute_state(manifest: Manifest, found: Mapping[str, HostEntry | None]) -> dict[str, str]:
    """Return the state of each installed file: "installed", "changed" or "missing"."""
    states = {}
    for each in manifest.files:
        present = found.get(each.path)
        states[each.path] = "missing" if present is None else "installed" if _is_present(each, present) else "changed"
    return states


def _is_present(required: InstalledFile, present: HostEntry | None) -> bool:
    return present == HostEntry(kind=required.kind, mode=required.mode, digest=required.digest)


def _find_conflict(path: str, own: InstalledFile | None, present: HostEntry | None, owner: str) -> FileConflict | None:
    """Return why a file must not be replaced or removed without `force`, if there is a reason."""
    if present is None:
        return None
    if present.kind in ("directory", "other"):
        return FileConflict(path=path, why=f"is {_KINDS[present.kind]}", final=True)
    if owner:
        return FileConflict(path=path, why=f"belongs to {owner}")
    if own is None:
        return FileConflict(path=path, why="already exists and was not installed by devbox")
    if present != HostEntry(kind=own.kind, mode=own.mode, digest=own.digest):
        return FileConflict(path=path, why="was changed after devbox installed it")
    return None


_KINDS = {"directory": "a directory", "other": "neither a file nor a link"}


def _adopt_found(own: InstalledFile, found: Mapping[str, HostEntry | None]) -> InstalledFile:
    """Record a file to remove as found now, so that a resumed removal never deletes another version."""
    present = found.get(own.path)
    if present is None:
        return own
    return InstalledFile(path=own.path, digest=present.digest, mode=present.mode, kind=present.kind)


def list_access(spec: Spec) -> tuple[InstallAccess, ...]:
    """Return the host access of installs; `devbox trust` allows it."""
    return tuple(
        InstallAccess(install=f"install.{each.name}", place=place, path=path, where=each.where)
        for each in spec.installs.values()
        for place, path in each.files.items()
    )


def select_installs(spec: Spec, names: tuple[str, ...]) -> tuple[Install, ...]:
    """Return the named installs; without names, all whose profiles are enabled."""
    known = ", ".join(spec.installs) or "none"
    for name in names:
        if name not in spec.installs:
            raise UsageError(f"[install.{name}] not found in {spec.instance.env_file}", remedy=f"known: {known}")
    found = [spec.installs[name] for name in dict.fromkeys(names)]
    found = found or [each for each in spec.installs.values() if not each.asleep]
    if not found:
        raise UsageError(
            f"missing [install.NAME] in {spec.instance.env_file}",
            remedy='add [install.NAME] with from = "image" and files = { "~/.local/bin/x" = "/usr/local/bin/x" }',
        )
    return tuple(found)
