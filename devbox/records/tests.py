"""What came of a project's tests, cell by cell, and which cells are on the machine. All of it lies in one directory.

`cells/ID/` has a cell's files and `result.json`; `trees/` what the project's files were, by the digest of that;
`standing/ID` names a cell of which something is on the machine; `known.json` and `files.json` make the next run fast.
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

# What of a cell is on the machine: it runs, its data are kept since it failed, it was asked to stay.
RUNNING, FAILED, KEPT = "running", "failed", "kept"
_TREES_KEPT = 20
_WRITTEN_KEPT = 100


class MatrixRecords:
    """The records of one project. Writers hold `lock`, but for different cells at once."""

    def __init__(self, paths: Paths, project: str, *, released: bool = False) -> None:
        """`released`: those of tests against releases, which are others than those of the file as it is."""
        self._paths = paths
        self._project = project
        self._released = released
        self._directory = f"{paths.tests(project)}/released" if released else paths.tests(project)
        self.lock = paths.lock(f"{project}.test")
        self.files = f"{self._directory}/files.json"
        self.directory = self._directory

    def compute_cell_id(self, name: str) -> str:
        """The id of a cell's instance."""
        return ids.compute_cell_id(self._project, format_instance_name(name, released=self._released))

    def get_directory(self, name: str) -> str:
        """The directory of what a cell wrote."""
        return f"{self._directory}/cells/{self.compute_cell_id(name)}"

    def find_name(self, cell: str) -> str:
        """The name of a cell, by the id of its instance; "" where it never ran to its end."""
        found = self._load(CellRecord, f"{self._directory}/cells/{cell}/result.json", "cell")
        return found.result.cell.name if found else ""

    def read_last(self, name: str) -> CellRecord | None:
        """What is known of a cell; None where it never ran, or an older version wrote it."""
        return self._load(CellRecord, f"{self.get_directory(name)}/result.json", "cell")

    def record_result(self, inputs: CellInputs, result: CellResult) -> None:
        """A cell ran."""
        self._dump(
            f"{self.get_directory(result.cell.name)}/result.json", "cell", CellRecord(inputs=inputs, result=result)
        )

    def read_last_run(self) -> MatrixRun | None:
        """The last run of all."""
        return self._load(MatrixRun, f"{self._directory}/run.json", "run")

    def record_run(self, run: MatrixRun) -> None:
        """A run ended."""
        self._dump(f"{self._directory}/run.json", "run", run)

    def read_written(self) -> tuple[str, ...]:
        """What devbox itself has written into the project about its tests; of directories, with a slash at the end."""
        return tuple(self._read(f"{self._directory}/written.json").get("paths", ()))

    def record_written(self, paths: Iterable[str]) -> None:
        """Reports are about to be written there, relative to the project."""
        known = self.read_written()
        if fresh := [path for path in paths if path not in known]:
            self._write(f"{self._directory}/written.json", {"paths": [*known, *fresh][-_WRITTEN_KEPT:]})

    def read_tree(self, digest: str) -> dict[str, str]:
        """The files of the project that have this digest together, by path; none where that was forgotten."""
        plain = self._read(self._get_tree_path(digest))
        return dict(plain.get("files", {}))

    def record_tree(self, digest: str, tree: Mapping[str, str]) -> None:
        """Keep what the files are, for the next time's reasons."""
        path = self._get_tree_path(digest)
        if not os.path.exists(path):
            self._write(path, {"files": dict(tree)})
            files.prune_oldest(os.path.dirname(path), _TREES_KEPT)

    def read_cached_matrix(self, reader: str) -> CachedMatrix | None:
        """The cells as they were read last; None where anything they were read from changed."""
        path = f"{self._directory}/known.json"
        plain = self._read(path)
        try:
            if plain["reader"] != reader or plain["now"] != _hash_inputs(plain):
                return None
        except (KeyError, TypeError):
            return None
        return self._load(CachedMatrix, path, "matrix")

    def write_cached_matrix(
        self, matrix: CachedMatrix, reader: str, *, read: Iterable[str], variables: Iterable[str], root: str
    ) -> None:
        """Keep the cells with the files, of the project at `root`, and environment variables they were read from."""
        paths, names = sorted(set(read)), sorted(set(variables))
        plain = {"reader": reader, "read": paths, "variables": names, "root": root}
        self._write(
            f"{self._directory}/known.json", {**plain, "now": _hash_inputs(plain), "matrix": codec.dump(matrix)}
        )

    def list_standing(self) -> dict[str, str]:
        """Ids of the cells of which something is on the machine, and what: RUNNING, FAILED or KEPT."""
        found: dict[str, str] = {}
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(f"{self._directory}/standing")):
                found[name] = files.read_text(f"{self._directory}/standing/{name}") or RUNNING
        return found

    def mark(self, cell: str, what: str) -> None:
        """Something of a cell (by its instance's id) is on the machine from now on; nothing any more for ""."""
        path = f"{self._directory}/standing/{cell}"
        if what:
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            files.write_atomic(path, what, mode=0o600)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def forget(self) -> None:
        """Remove all of it."""
        if os.path.isdir(self._directory):
            disk.remove(self._directory)

    def _get_tree_path(self, digest: str) -> str:
        return f"{self._directory}/trees/{digest.removeprefix('sha256:')[:16]}.json"

    def _load(self, cls: type[T], path: str, key: str) -> T | None:
        plain = self._read(path).get(key)
        try:
            return codec.load(cls, plain) if plain is not None else None
        except (codec.CodecError, TypeError, AttributeError):
            return None

    def _dump(self, path: str, key: str, value: object) -> None:
        self._write(path, {key: codec.dump(value)})

    @staticmethod
    def _read(path: str) -> dict[str, Any]:
        """A record; one that can't be understood says nothing, and cells run once more."""
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
    """How the instance of a cell is told from those of others."""
    return f"released:{cell}" if released else cell


def _hash_inputs(plain: Mapping[str, Any]) -> str:
    """The hash of what cells were read from, as it is now."""
    return spec_cache.hash_inputs(plain["read"], plain["variables"], root=plain["root"])


TASKS_FORMAT = 1


class TaskRecord:
    """The record file of one instance's tasks. Safe without the instance's lock: tasks run beside an `up`."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.tasks(instance)
        self._lock = paths.lock(f"{instance}.tasks")

    def read_last(self, name: str) -> TaskDone | None:
        """What the task succeeded with last; None before that, or where an older version wrote it."""
        plain = self._read().get(name)
        try:
            return codec.load(TaskDone, plain) if plain is not None else None
        except codec.CodecError:
            return None

    def record_success(self, name: str, done: TaskDone) -> None:
        """It succeeded with this."""
        os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
        with files.lock_file(self._lock):
            known = self._read() | {name: codec.dump(done)}
            files.write_atomic(self._path, json.dumps({"format": TASKS_FORMAT, "tasks": known}), mode=0o600)

    def _read(self) -> dict[str, object]:
        """All that is known; a file that can't be understood says nothing, and tasks run once more."""
        try:
            plain = jsontext.loads(files.read_text(self._path) or "{}")
            return dict(plain["tasks"]) if plain.get("format") == TASKS_FORMAT else {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
