"""The schedule of cells: which run, which are cached or skipped, and the first events of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import matrices

from devbox.host.paths import Paths
from devbox.matrix import schedule
from devbox.matrix.schedule import CACHED, RUN, SKIPPED, MatrixObservation, MatrixRequest, Session
from devbox.model.matrix import CachedMatrix, CellDone, CellInputs, MatrixEvent, MatrixStarted
from devbox.records.tests import MatrixRecords

TREE = {"a.py": "file:1"}
INPUTS = CellInputs(
    image="i", services={}, command="c", environment={}, settings="s", ready="", exact="e", files="sha256:tree"
)
PASSED, FAILED, FLAKY, NEW = (matrices.result(x=name) for name in ("passed", "failed", "flaky", "new"))
CELLS = tuple(each.cell for each in (PASSED, FAILED, FLAKY, NEW))


@pytest.fixture
def records(tmp_path: Path) -> MatrixRecords:
    found = MatrixRecords(Paths(str(tmp_path / "home"), str(tmp_path / "run")), "0123")
    found.record_tree(INPUTS.files, TREE)
    found.record_result(INPUTS, replace(PASSED, ended_at="then", coverage=("/cov",)))
    found.record_result(INPUTS, replace(FAILED, state="failed"))
    found.record_result(INPUTS, replace(FLAKY, state="flaky"))
    return found


def seen(files: str = INPUTS.files, tree: dict[str, str] | None = None) -> MatrixObservation:
    now = replace(INPUTS, files=files)
    known = CachedMatrix(project="p", cells=CELLS, inputs={cell.name: now for cell in CELLS}, patterns=(), but=())
    return MatrixObservation(known=known, tree=tree or TREE, inputs=known.inputs)


def told(
    records: MatrixRecords, request: MatrixRequest, now: MatrixObservation | None = None
) -> dict[str, tuple[str, str]]:
    return {
        each.cell.axes["x"]: (each.verdict, each.reason) for each in schedule.decide(now or seen(), records, request)
    }


def test_only_what_passed_at_once_and_is_unchanged_need_not_run(records: MatrixRecords):
    assert told(records, MatrixRequest()) == {
        "passed": (CACHED, "nothing changed since it passed at then (1.5 s)"),
        "failed": (RUN, "failed last time"),
        "flaky": (RUN, "passed only on a retry last time"),
        "new": (RUN, "never ran"),
    }


@pytest.mark.parametrize("selection", [MatrixRequest(everything=True), MatrixRequest(keep=True)])
def test_all_runs_what_passed_as_well(records: MatrixRecords, selection: MatrixRequest):
    assert told(records, selection)["passed"] == (RUN, "requested")


def test_a_changed_file_is_named_where_it_is_known(records: MatrixRecords):
    now = seen("sha256:other", {"a.py": "file:2", "b.py": "file:1"})
    assert told(records, MatrixRequest(), now)["passed"] == (RUN, "a.py, b.py changed")


def test_cells_that_the_user_deselects_are_skipped(records: MatrixRecords):
    left = told(records, MatrixRequest(expression="not new", last_failed=True, shard="1/1"))
    assert left["passed"] == left["flaky"] == (SKIPPED, "not selected by --last-failed")
    assert left["new"] == (SKIPPED, "not selected by -k not new")
    assert left["failed"][0] == RUN
    halves = [told(records, MatrixRequest(shard=share)) for share in ("1/2", "2/2")]
    assert [[name for name, (verdict, _) in half.items() if verdict != SKIPPED] for half in halves] == [
        ["passed", "flaky"],
        ["failed", "new"],
    ]


def test_cells_that_do_not_run_have_their_results_at_once(records: MatrixRecords):
    decided = schedule.decide(seen(), records, MatrixRequest(expression="not flaky"))
    session, events = Session(seen(), decided, jobs=1), list[MatrixEvent]()
    session.report_cells(events.append, {FAILED.cell.name: "its image could not be made"})
    found = {result.cell.axes["x"]: (result.state, result.reason) for result in session.results.values()}
    assert found == {
        "passed": ("cached", "nothing changed since it passed at then (1.5 s)"),
        "failed": ("error", "its image could not be made"),
        "flaky": ("skipped", "not selected by -k not flaky"),
    }
    assert session.results[PASSED.cell.name].coverage == ("/cov",), "what it wrote when it passed is still there"
    started, *done = events
    assert isinstance(started, MatrixStarted)
    assert [cell.axes["x"] for cell in started.cells] == ["passed", "failed", "new"]
    assert [event.result.state for event in done if isinstance(event, CellDone)] == ["cached", "error"]
