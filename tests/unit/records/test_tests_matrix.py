"""Stored results of cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.matrix import CachedMatrix, Cell, CellInputs, CellResult, MatrixRun
from devbox.records.tests import FAILED, RUNNING, MatrixRecords

CELL = Cell(name="python=3.14,pg=15", axes={"python": "3.14", "pg": "15"}, variables={"python": "3.14", "pg": "15"})
INPUTS = CellInputs(image="i", services={"db": "d"}, command="c", environment={}, settings="s", ready="", exact="e")
RESULT = CellResult(cell=CELL, state="failed", seconds=1.5, phases={"test": 1.5}, reports=("/x",), exit_code=3)


@pytest.fixture
def records(tmp_path: Path) -> MatrixRecords:
    return MatrixRecords(Paths(str(tmp_path / "home"), str(tmp_path / "run")), "0123")


def test_what_is_remembered_of_a_cell_comes_back(records: MatrixRecords) -> None:
    assert records.read_last(CELL.name) is None
    records.record_result(INPUTS, RESULT)
    found = records.read_last(CELL.name)
    assert found is not None
    assert (found.inputs, found.result) == (INPUTS, RESULT)
    assert records.read_last("python=3.14") is None


def test_what_can_not_be_understood_says_nothing(records: MatrixRecords) -> None:
    records.record_result(INPUTS, RESULT)
    path = Path(records.get_directory(CELL.name)) / "result.json"
    for text in ("", "[]", "{", '{"format": 2}', '{"format": 1, "cell": {"inputs": 1}}'):
        path.write_text(text)
        assert records.read_last(CELL.name) is None


def test_cells_are_known_until_what_they_were_read_from_changes(records: MatrixRecords, tmp_path: Path) -> None:
    source = tmp_path / "devbox.toml"
    source.write_text("a")
    known = CachedMatrix(project="p", cells=(CELL,), inputs={CELL.name: INPUTS}, patterns=("a/**",), but=("b",))
    records.write_cached_matrix(known, "me", read=[str(source)], variables=["DEVBOX_PROFILES"], root=str(tmp_path))
    assert records.read_cached_matrix("me") == known
    assert records.read_cached_matrix("another") is None
    source.write_text("b")
    assert records.read_cached_matrix("me") is None


def test_kept_cells_are_listed_by_their_instance(records: MatrixRecords) -> None:
    records.mark("a", RUNNING)
    records.mark("b", FAILED)
    records.mark("a", "")
    records.mark("c", "")
    assert records.list_standing() == {"b": FAILED}
    records.forget()
    assert records.list_standing() == {}


def test_trees_are_kept_by_their_digest(records: MatrixRecords) -> None:
    records.record_tree("sha256:1", {"a": "file:1"})
    assert records.read_tree("sha256:1") == {"a": "file:1"}
    assert records.read_tree("sha256:2") == {}


def test_the_last_run_comes_back(records: MatrixRecords, tmp_path: Path) -> None:
    run = MatrixRun(id="1", project="p", cells=(RESULT,), started_at="now", seconds=1.0, directory="/d")
    records.record_run(run)
    (path,) = tmp_path.rglob("run.json")
    assert codec.load(MatrixRun, json.loads(path.read_text())["run"]) == run


def test_tests_of_a_release_are_others(records: MatrixRecords, tmp_path: Path) -> None:
    released = MatrixRecords(Paths(str(tmp_path / "home"), str(tmp_path / "run")), "0123", released=True)
    records.record_result(INPUTS, RESULT)
    assert released.read_last(CELL.name) is None
    assert released.compute_cell_id(CELL.name) != records.compute_cell_id(CELL.name)
    assert released.lock == records.lock
