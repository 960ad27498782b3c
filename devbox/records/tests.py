"""Test results of a project by cell, and the cells with resources on the host, in one directory.

`cells/ID/` has a cell's files and `result.json`; `trees/` earlier project files by their digest; `standing/ID` marks a
cell with resources on the host; `known.json` and `files.json` speed up the next run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from devbox.host import disk, files
from devbox.host.paths import Paths
from devbox.model import codec, ids, jsontext
from devbox.model.matrix import CachedMatrix, CellInputs, CellRecord, CellResult, MatrixRun
from devbox.model.observed import TaskDone
from devbox.records import spec_cache

MATRIX_FORMAT = 1
T = TypeVar("T")

# State of a cell's resources on the host: running, data kept after a failure, kept on request.
RUNNING, FAILED, KEPT = "running", "failed", "kept"
_TREES_KEPT = 20
_WRITTEN_KEPT = 100


class MatrixRecords:
    """The records of one project. Writers hold `lock`, except for different cells at the same time."""

    def __init__(self, paths: Paths, project: str, *, released: bool = False) -> None:
        """Open the records; `released`: those of tests against releases, which are separate."""
        self._paths = paths
        self._project = project
        self._released = released
        self._directory = f"{paths.tests(project)}/released" if released else paths.tests(project)
        self.lock = paths.lock(f"{project}.test")
        self.files = f"{self._directory}/files.json"
        self.directory = self._directory

    def compute_cell_id(self, name: str) -> str:
        """Return the id of a cell's instance."""
        return ids.compute_cell_id(self._project, format_instance_name(name, released=self._released))

    def get_directory(self, name: str) -> str:
        """Return the directory of a cell's files."""
        return f"{self._directory}/cells/{self.compute_cell_id(name)}"

    def find_name(self, cell: str) -> str:
        """Return the name of a cell by its instance id; "" if it never completed."""
        found = self._load(CellRecord, f"{self._directory}/cells/{cell}/result.json", "cell")
        return found.result.cell.name if found else ""

    def read_last(self, name: str) -> CellRecord | None:
        """Return the last record of a cell; None if it never ran, or an older version wrote it."""
        return self._load(CellRecord, f"{self.get_directory(name)}/result.json", "cell")

    def record_result(self, inputs: CellInputs, result: CellResult) -> None:
        """Record a cell's result."""
        self._dump(
            f"{self.get_directory(result.cell.name)}/result.json", "cell", CellRecord(inputs=inputs, result=result)
        )

    def record_run(self, run: MatrixRun) -> None:
        """Record a completed run."""
        self._dump(f"{self._directory}/run.json", "run", run)

    def read_written(self) -> tuple[str, ...]:
        """Return the project paths that devbox wrote for tests; directories end with a slash."""
        return self._load(tuple[str, ...], f"{self._directory}/written.json", "paths") or ()

    def record_written(self, paths: Iterable[str]) -> None:
        """Record report paths, relative to the project, before writing them."""
        known = self.read_written()
        if fresh := [path for path in paths if path not in known]:
            self._write(f"{self._directory}/written.json", {"paths": [*known, *fresh][-_WRITTEN_KEPT:]})

    def read_tree(self, digest: str) -> dict[str, str]:
        """Return the project files with this common digest, by path; empty if pruned."""
        return self._load(dict[str, str], self._get_tree_path(digest), "files") or {}

    def record_tree(self, digest: str, tree: Mapping[str, str]) -> None:
        """Record the project files, for reasons in the next run."""
        path = self._get_tree_path(digest)
        if not os.path.exists(path):
            self._write(path, {"files": dict(tree)})
            files.prune_oldest(os.path.dirname(path), _TREES_KEPT)

    def read_cached_matrix(self, reader: str) -> CachedMatrix | None:
        """Return the cached cells; None if any of their inputs changed."""
        path = f"{self._directory}/known.json"
        plain = self._read(path)
        try:
            if plain["reader"] != reader or plain["now"] != _hash_inputs(plain):
                return None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return self._load(CachedMatrix, path, "matrix")

    def write_cached_matrix(
        self, matrix: CachedMatrix, reader: str, *, read: Iterable[str], variables: Iterable[str], root: str
    ) -> None:
        """Cache the cells with their input files, including the project's at `root`, and environment variables."""
        paths, names = sorted(set(read)), sorted(set(variables))
        plain = {"reader": reader, "read": paths, "variables": names, "root": root}
        self._write(
            f"{self._directory}/known.json", {**plain, "now": _hash_inputs(plain), "matrix": codec.dump(matrix)}
        )

    def list_standing(self) -> dict[str, str]:
        """Return the ids of cells with resources on the host, and their state: RUNNING, FAILED or KEPT."""
        found: dict[str, str] = {}
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(f"{self._directory}/standing")):
                found[name] = files.read_text(f"{self._directory}/standing/{name}") or RUNNING
        return found

    def mark(self, cell: str, what: str) -> None:
        """Record the state of a cell's resources by its instance id; "" removes the record."""
        path = f"{self._directory}/standing/{cell}"
        if what:
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            files.write_atomic(path, what, mode=0o600)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def forget(self) -> None:
        """Remove all records."""
        if os.path.isdir(self._directory):
            disk.remove(self._directory)

    def _get_tree_path(self, digest: str) -> str:
        return f"{self._directory}/trees/{digest.removeprefix('sha256:')[:16]}.json"

    def _load(self, cls: type[T], path: str, key: str) -> T | None:
        plain = self._read(path).get(key)
        try:
            return codec.load(cls, plain) if plain is not None else None
        except codec.CodecError:
            return None

    def _dump(self, path: str, key: str, value: object) -> None:
        self._write(path, {key: codec.dump(value)})

    @staticmethod
    def _read(path: str) -> dict[str, Any]:
        """Read a record; an unreadable one counts as empty, and cells run again."""
        try:
            plain = jsontext.loads(files.read_text(path) or "{}")
            return plain if isinstance(plain, dict) and plain.get("format") == MATRIX_FORMAT else {}
        except ValueError:
            return {}

    @staticmethod
    def _write(path: str, plain: dict[str, Any]) -> None:
        os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
        files.write_atomic(path, json.dumps({"format": MATRIX_FORMAT, **plain}), mode=0o600)


def format_instance_name(cell: str, *, released: bool) -> str:
    """Return the instance name of a cell."""
    return f"released:{cell}" if released else cell


def _hash_inputs(plain: Mapping[str, Any]) -> str:
    """Return the hash of the current inputs of cells."""
    return spec_cache.hash_inputs(plain["read"], plain["variables"], root=plain["root"])


TASKS_FORMAT = 1


class TaskRecord:
    """The record of one instance's tasks. Safe without the instance's lock: tasks run in parallel to an `up`."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.tasks(instance)
        self._lock = paths.lock(f"{instance}.tasks")

    def read_last(self, name: str) -> TaskDone | None:
        """Return the last success of a task; None before it, or if an older version wrote it."""
        plain = self._read().get(name)
        try:
            return codec.load(TaskDone, plain) if plain is not None else None
        except codec.CodecError:
            return None

    def record_success(self, name: str, done: TaskDone) -> None:
        """Record the success of a task."""
        os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
        with files.lock_file(self._lock):
            known = self._read() | {name: codec.dump(done)}
            files.write_atomic(self._path, json.dumps({"format": TASKS_FORMAT, "tasks": known}), mode=0o600)

    def _read(self) -> dict[str, object]:
        """Read the record; an unreadable one counts as empty, and tasks run again."""
        try:
            plain = jsontext.loads(files.read_text(self._path) or "{}")
            return dict(plain["tasks"]) if plain.get("format") == TASKS_FORMAT else {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
