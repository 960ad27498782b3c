"""What `devbox install` changes on the host, and what stands in its way. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.frozen import dataclass
from devbox.model.install import Conflict, Installed, Manifest, Present


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Files to put, files to remove, files that are there already; and why a person has to decide first."""

    put: tuple[Installed, ...] = ()
    remove: tuple[Installed, ...] = ()
    keep: tuple[Installed, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.remove)


def place(
    wanted: tuple[Installed, ...],
    own: Manifest | None,
    found: Mapping[str, Present | None],
    owners: Mapping[str, str],
    *,
    force: bool,
) -> Placement:
    """From what is to be there and what was put there before to what has to change; nothing wanted: uninstall.

    `found` has what lies at each place now, `owners` which other install has put it there. With `force`, files that
    were changed or that others put there are replaced or removed; a directory never is.
    """
    before = {each.path: each for each in own.files} if own else {}
    after = {each.path: each for each in wanted}
    gone = tuple(each for path, each in before.items() if path not in after and found.get(path) is not None)
    put = tuple(each for each in wanted if not _is_there(each, found.get(each.path)))
    kept = tuple(each for each in wanted if each not in put)
    foreign = (
        each for each in kept if each.path not in before
    )  # the same by chance: removing it is another's to decide
    at_stake = [each.path for each in (*put, *gone, *foreign)]
    conflicts = (_conflict(path, before.get(path), found.get(path), owners.get(path, "")) for path in at_stake)
    standing = tuple(each for each in conflicts if each is not None and (each.final or not force))
    return Placement(
        put=put,
        remove=tuple(_as_found(each, found) for each in gone),
        keep=kept,
        conflicts=standing,
    )


def state(manifest: Manifest, found: Mapping[str, Present | None]) -> dict[str, str]:
    """What became of each installed file: "installed", "changed" or "missing"."""
    states = {}
    for each in manifest.files:
        present = found.get(each.path)
        states[each.path] = "missing" if present is None else "installed" if _is_there(each, present) else "changed"
    return states


def _is_there(wanted: Installed, present: Present | None) -> bool:
    return present == Present(kind=wanted.kind, mode=wanted.mode, digest=wanted.digest)


def _conflict(path: str, own: Installed | None, present: Present | None, owner: str) -> Conflict | None:
    """Why a file may not be replaced or removed without being told to."""
    if present is None:
        return None
    if present.kind in ("directory", "other"):
        return Conflict(path=path, why=f"is {_KINDS[present.kind]}", final=True)
    if owner:
        return Conflict(path=path, why=f"belongs to {owner}")
    if own is None:
        return Conflict(path=path, why="is there already, and devbox did not put it there")
    if present != Present(kind=own.kind, mode=own.mode, digest=own.digest):
        return Conflict(path=path, why="was changed since devbox put it there")
    return None


_KINDS = {"directory": "a directory", "other": "neither a file nor a link"}


def _as_found(own: Installed, found: Mapping[str, Present | None]) -> Installed:
    """A file to be removed, by what it is now: whoever carries on after a kill removes nothing else."""
    present = found.get(own.path)
    if present is None:
        return own
    return Installed(path=own.path, digest=present.digest, mode=present.mode, kind=present.kind)
