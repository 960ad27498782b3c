"""Projects whose directory was renamed or moved: they keep their instance, with its data, containers and stages.

A place (root and env file) has a key, which is the id of the instance that was first there. `moved/KEY` names another
instance: that of a project moved to the place, or the id for the next project at a place that one was moved from.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from devbox.errors import DevboxError
from devbox.host import directory, files
from devbox.host.paths import Paths
from devbox.host.project import identify
from devbox.model.ids import INSTANCE_ID_LENGTH, instance_id, key_of
from devbox.records.instance import InstanceRecords


def find_id(paths: Paths, root: str, env_file: str) -> str:
    """The instance id of the project at a place; one that was moved there is found by its directory, and recorded."""
    found = identify(paths, root, env_file)
    if not os.path.isdir(paths.projects):
        return found
    own = directory.identity(root)
    if not own or _is_at_home(paths, found, own) or not _lost(paths, env_file):
        return found
    with files.locked(paths.lock("moves")):
        if moves := _moves(paths, env_file, root, _lost(paths, env_file)):
            _record(paths, env_file, moves)
        found = identify(paths, root, env_file)
        records = InstanceRecords(paths, found)
        with contextlib.suppress(DevboxError, OSError):
            if records.directory() not in ("", own):  # made anew at its place: the old one is nowhere to be found
                records.moved_to(root)
    return found


def _is_at_home(paths: Paths, key: str, own: str) -> bool:
    """True if the instance has the directory with this identity, as far as that is recorded."""
    try:
        return os.path.isdir(paths.project(key)) and InstanceRecords(paths, key).directory() in ("", own)
    except (DevboxError, OSError):
        return True  # a damaged record: whoever reads more of it says so


def _places(paths: Paths, env_file: str) -> Iterator[tuple[str, str, str]]:
    """Id, root and directory of each project with this env file, without stages and the cells of tests."""
    for key in sorted(os.listdir(paths.projects)):
        records = InstanceRecords(paths, key)
        with contextlib.suppress(DevboxError, OSError):
            root, file = records.place()
            if file == env_file and not records.stage() and identify(paths, root, file) == key:
                yield key, root, records.directory()


def _lost(paths: Paths, env_file: str) -> dict[str, tuple[str, str]]:
    """The projects whose place has another directory now, or none: id → root and directory."""
    found = {key: (root, known) for key, root, known in _places(paths, env_file) if known}
    return {key: (root, known) for key, (root, known) in found.items() if directory.identity(root) != known}


def _moves(paths: Paths, env_file: str, root: str, lost: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Where the directories of these projects are: id → the former root and the present one.

    They are looked for at this root, beside it, and at the places of other projects, which may have changed places.
    """
    inodes = {known.partition(":")[0] for _, known in lost.values()}
    beside: list[str] = []
    with contextlib.suppress(OSError), os.scandir(os.path.dirname(root)) as entries:
        beside = [entry.path for entry in entries if str(entry.inode()) in inodes]
    candidates = [root, *(place for _, place, _ in _places(paths, env_file)), *beside]
    present = {directory.identity(place): place for place in reversed(candidates)}
    return {key: (before, present[known]) for key, (before, known) in lost.items() if known in present}


def _record(paths: Paths, env_file: str, moves: dict[str, tuple[str, str]]) -> None:
    """Lead the new places to the projects, and places that were left to ids that no project has yet."""
    roots = dict(moves.values())
    for key in os.listdir(paths.projects):
        records = InstanceRecords(paths, key)
        with contextlib.suppress(DevboxError, OSError):
            root, file = records.place()
            if file == env_file and root in roots:  # its stages and the cells of its tests as well
                records.moved_to(roots[root])
    for key, (before, root) in moves.items():
        if before not in roots.values():
            left = instance_id(before, env_file)
            fresh = key_of(["moved away", left, key, root, directory.identity(root)]).removeprefix("sha256:")
            _lead(paths, left, fresh[:INSTANCE_ID_LENGTH])
        _lead(paths, instance_id(root, env_file), key)


def _lead(paths: Paths, key: str, to: str) -> None:
    path = paths.moved(key)
    if key == to:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    files.write_atomic(path, to, mode=0o600)
