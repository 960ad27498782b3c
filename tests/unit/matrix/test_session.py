"""Parallel cells: their start order, and the results of cells that do not start."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from devbox.matrix.session import WorkerPool
from devbox.model.matrix import Cell, CellDone, CellResult, MatrixEvent

SECONDS = 20


class Run:
    """A fake run of a cell, as a WorkerPool uses it."""

    def __init__(self, name: str, state: str = "passed", *, before: Any = None) -> None:
        self.desired = SimpleNamespace(cell=Cell(name=name, axes={}, variables={}, allow_failure=name == "allowed"))
        self._state = state
        self._before = before
        self.aborted = threading.Event()

    def run(self) -> CellResult:
        if self._before is not None:
            self._before(self)
        if self._state == "fault":
            raise ValueError("no such thing")
        state = "interrupted" if self.aborted.is_set() else self._state
        return CellResult(cell=self.desired.cell, state=state, attempts=1)

    def abort(self) -> None:
        self.aborted.set()


def crew(*runs: Run, jobs: int = 1, fail_fast: bool = False) -> tuple[WorkerPool, list[MatrixEvent]]:
    events: list[MatrixEvent] = []
    around: Any = SimpleNamespace(board=events.append, stopping=threading.Event())
    every: Any = runs
    return WorkerPool(around, every, jobs=jobs, fail_fast=fail_fast), events


def work(made: WorkerPool) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}

    def keep(_run: object, result: CellResult) -> None:
        found[result.cell.name] = (result.state, result.reason)

    made.work(keep)
    return found


def test_every_cell_has_a_result_and_is_reported():
    made, events = crew(Run("a"), Run("b", "failed"), Run("c"), jobs=2)
    assert {name: state for name, (state, _) in work(made).items()} == {"a": "passed", "b": "failed", "c": "passed"}
    assert sum(isinstance(event, CellDone) for event in events) == 3


def test_a_fault_of_devbox_costs_its_cell():
    made, _ = crew(Run("a", "fault"), Run("b"))
    found = work(made)
    assert found["a"] == ("error", "internal error: ValueError: no such thing")
    assert found["b"][0] == "passed"


def test_after_a_failure_none_begins_where_that_was_asked():
    made, _ = crew(Run("a"), Run("b", "failed"), Run("c"), Run("d"), fail_fast=True)
    found = work(made)
    assert [state for state, _ in found.values()] == ["passed", "failed", "skipped", "skipped"]
    assert found["c"][1] == "not started (fail_fast): b failed"


def test_an_allowed_failure_stops_no_other_cell():
    made, _ = crew(Run("allowed", "failed"), Run("b"), fail_fast=True)
    assert work(made)["b"][0] == "passed"


def test_an_interrupt_ends_running_cells_and_starts_no_more():
    running = threading.Event()

    def hang(run: Run) -> None:
        running.set()
        assert run.aborted.wait(SECONDS)

    made, _ = crew(Run("a", before=hang), Run("b"))
    threading.Thread(target=lambda: running.wait(SECONDS) and made.interrupt(), daemon=True).start()
    assert work(made) == {"a": ("interrupted", ""), "b": ("skipped", "interrupted before its start")}
    assert made.interrupted


def test_one_cell_more_than_jobs_is_under_way():
    """Its services start while others test; with one job there is one."""
    for jobs, most in ((1, 1), (2, 3)):
        together, peak, guard = [0], [0], threading.Lock()
        full = threading.Event()

        def count(_run: Run, together=together, peak=peak, guard=guard, full=full, most=most) -> None:
            with guard:
                together[0] += 1
                peak[0] = max(peak[0], together[0])
                if together[0] == most:
                    full.set()
            full.wait(SECONDS)
            with guard:
                together[0] -= 1

        made, _ = crew(*(Run(str(number), before=count) for number in range(6)), jobs=jobs)
        work(made)
        assert peak[0] == most
