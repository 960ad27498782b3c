"""Implementation of `test --shell`: a cell as its last failure left it, or a new one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from devbox.envfile.load import EnvFile
from devbox.errors import BakeFailed, UsageError
from devbox.execute.events import Note, Sink
from devbox.host import files
from devbox.images.store import lock
from devbox.matrix import bake, cells, reaper, schedule
from devbox.matrix.reaper import CellReaper, take_down
from devbox.matrix.run import CellRun, RunContext
from devbox.matrix.session import open_ready_data
from devbox.model.matrix import Cell, MatrixEvent
from devbox.plan import matrix
from devbox.project import Project, lock_instance
from devbox.records.tests import FAILED, KEPT, RUNNING, MatrixRecords

DisplayFactory = Callable[[], AbstractContextManager[Sink]]


@contextmanager
def bring_up_cell(project: Project, name: str, display: DisplayFactory) -> Iterator[tuple[str, str]]:
    """Yield instance and container of a cell, which is restored to its previous state afterwards."""
    records = MatrixRecords(project.paths, project.id)
    with files.lock_file(records.lock, wait=False) as acquired:
        if not acquired:
            raise UsageError("tests of this project are running", remedy="try again when they have ended")
        with lock.lock_shared(project.paths):
            reaper.sweep(project, records)
            env, every = cells.load_cells(project)
            name = _find_cell(every, name)
            before = records.list_standing().get(records.compute_cell_id(name), "")
            guardian = CellReaper(project.paths)
            try:
                with display() as sink:
                    run = _prepare_run(project, records, (env, every), name, guardian, sink)
                    _bring_up(project, records, run, before, guardian, sink)
                yield run.desired.resolved.instance.id, run.desired.tests.container.name
            finally:
                _restore_cell(project, records, records.compute_cell_id(name), before)
                guardian.end()


def _find_cell(every: tuple[Cell, ...], cell: str) -> str:
    """Return the cell of this name, or the only match of an expression."""
    names = [each.name for each in every]
    if cell in names:
        return cell
    found = sorted(matrix.select_cells(every, cell))
    if len(found) != 1:
        raise UsageError(
            f"invalid value for --shell: expected one cell, {cell} matches {len(found)}: {', '.join(found[:4])}",
            remedy="devbox test --list",
        )
    return found[0]


def _prepare_run(
    project: Project,
    records: MatrixRecords,
    known: tuple[EnvFile, tuple[Cell, ...]],
    name: str,
    guardian: CellReaper,
    sink: Sink,
) -> CellRun:
    """Return the current cell with its images built."""
    with lock_instance(project, sink):
        desired, sources = cells.read(project, *known)
        seen = schedule.record_cells(project, records, desired, sources)
        (one,) = cells.check_access(project, (each for each in desired if each.cell.name == name))
        if missing := bake.bake(project, [one], sink):
            raise BakeFailed(f"cannot bake the cell {name}: {missing[name]}", remedy=f"devbox test --shell {name}")

    def ignore(_event: MatrixEvent) -> None:
        """Only steps are shown."""

    around = RunContext(
        records=records,
        guardian=guardian,
        ready=open_ready_data(project, records, seen.tree),
        board=ignore,
        slots=threading.Semaphore(1),
        steps=sink,
    )
    return CellRun(cells.pin_cell(one), around, reason="")


def _bring_up(
    project: Project, records: MatrixRecords, run: CellRun, before: str, guardian: CellReaper, sink: Sink
) -> None:
    instance = run.desired.resolved.instance.id
    if before != KEPT:
        guardian.watch(instance, data=before == FAILED)
    if before:
        run.bring_up()
        return
    sink(Note(text=f"{run.desired.cell.name} has no kept state: starting a new cell"))
    take_down(project.paths, instance)
    records.mark(instance, RUNNING)
    run.prepare()


def _restore_cell(project: Project, records: MatrixRecords, instance: str, before: str) -> None:
    """Restore a cell: a kept one stays up, a failed one keeps its data, a new one is removed."""
    if before == FAILED:
        take_down(project.paths, instance, data=True)
    elif before != KEPT:
        take_down(project.paths, instance)
        records.mark(instance, "")
