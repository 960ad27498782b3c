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
    if os.path.isdir(paths.project(found)) or not os.path.isdir(paths.projects):
        return found
    own = directory.identity(root)
    moved = next(_moved(paths, env_file, own), None) if own else None
    if moved is None:
        return found
    _record(paths, *moved, root, env_file)
    return moved[0]


def _moved(paths: Paths, env_file: str, wanted: str) -> Iterator[tuple[str, str]]:
    """The id and the former root of the project whose directory this is."""
    for key in sorted(os.listdir(paths.projects)):
        records = InstanceRecords(paths, key)
        with contextlib.suppress(DevboxError, OSError):
            root, file = records.place()
            is_own = file == env_file and not records.stage() and identify(paths, root, file) == key
            if is_own and records.directory() == wanted and directory.identity(root) != wanted:
                yield key, root


def _record(paths: Paths, moved: str, before: str, root: str, env_file: str) -> None:
    """Lead the new place to the project, and its former place to an id that no project has yet."""
    left = instance_id(before, env_file)
    fresh = key_of(["moved away", left, moved, root, directory.identity(root)]).removeprefix("sha256:")
    _lead(paths, instance_id(root, env_file), moved)
    _lead(paths, left, fresh[:INSTANCE_ID_LENGTH])
    for key in os.listdir(paths.projects):
        records = InstanceRecords(paths, key)
        with contextlib.suppress(DevboxError, OSError):
            if records.place() == (before, env_file):  # its stages and the cells of its tests as well
                records.moved_to(root)


def _lead(paths: Paths, key: str, to: str) -> None:
    path = paths.moved(key)
    if key == to:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    files.write_atomic(path, to, mode=0o600)
