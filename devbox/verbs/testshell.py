"""A cell brought up for a person to look around in, as its last failure left it, or as it begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from devbox.envfile.load import EnvFile
from devbox.errors import BakeFailed, UsageError
from devbox.execute.events import Note, Sink
from devbox.host import files
from devbox.images import gate
from devbox.matrix import bakes, cells, looking, reading, standing
from devbox.matrix.guardian import Guardian, take_down
from devbox.matrix.running import CellRun, Surroundings
from devbox.matrix.session import ready_data
from devbox.model.matrix import Cell, MatrixEvent
from devbox.opened import Project, exclusive
from devbox.plan import selection
from devbox.records.matrix import FAILED, KEPT, RUNNING, MatrixRecords

Display = Callable[[], AbstractContextManager[Sink]]


@contextmanager
def brought_up(opened: Project, name: str, display: Display) -> Iterator[tuple[str, str]]:
    """The cell's instance and the container of its tests: up as long as this lasts, then as it was before."""
    records = MatrixRecords(opened.paths, opened.id)
    with files.locked(records.lock, wait=False) as mine:
        if not mine:
            raise UsageError("tests of this project are running", remedy="wait until they end, then do this again")
        with gate.kept(opened.paths):
            standing.sweep(opened, records)
            env, every = cells.every(opened)
            name = _name(every, name)
            before = records.standing().get(records.cell_id(name), "")
            guardian = Guardian(opened.paths)
            try:
                with display() as sink:
                    run = _run(opened, records, (env, every), name, guardian, sink)
                    _bring_up(opened, records, run, before, guardian, sink)
                yield run.wanted.resolved.instance.id, run.wanted.tests.container.name
            finally:
                _put_back(opened, records, records.cell_id(name), before)
                guardian.end()


def _name(every: tuple[Cell, ...], wanted: str) -> str:
    """The cell of this name, or the only one that an expression means."""
    names = [cell.name for cell in every]
    if wanted in names:
        return wanted
    found = sorted(selection.chosen(every, wanted))
    if len(found) != 1:
        raise UsageError(
            f"{wanted} means {len(found)} cells, and a shell is in one: {', '.join(found[:4])}",
            remedy="devbox test --list shows them",
        )
    return found[0]


def _run(
    opened: Project,
    records: MatrixRecords,
    known: tuple[EnvFile, tuple[Cell, ...]],
    name: str,
    guardian: Guardian,
    sink: Sink,
) -> CellRun:
    """The cell as the file has it now, its images baked."""
    with exclusive(opened, sink):
        wanted, sources = reading.read(opened, *known)
        seen = looking.note(opened, records, wanted, sources)
        (one,) = cells.allowed(opened, (each for each in wanted if each.cell.name == name))
        if lacking := bakes.bake(opened, [one], sink):
            raise BakeFailed(f"the cell {name} has no image: {lacking[name]}", remedy=f"devbox test --shell {name}")

    def ignore(_event: MatrixEvent) -> None:
        """Of what a cell tells, the steps are shown."""

    around = Surroundings(
        records=records,
        guardian=guardian,
        ready=ready_data(opened, records, seen.tree),
        board=ignore,
        slots=threading.Semaphore(1),
        steps=sink,
    )
    return CellRun(cells.fixed(one), around, reason="")


def _bring_up(
    opened: Project, records: MatrixRecords, run: CellRun, before: str, guardian: Guardian, sink: Sink
) -> None:
    instance = run.wanted.resolved.instance.id
    if before != KEPT:
        guardian.watch(instance, data=before == FAILED)
    if before:
        run.bring_up()
        return
    sink(Note(text=f"{run.wanted.cell.name} left nothing when it ran last: this is a new one"))
    take_down(opened.paths, instance)
    records.mark(instance, RUNNING)
    run.prepare()


def _put_back(opened: Project, records: MatrixRecords, instance: str, before: str) -> None:
    """What was kept standing stands; the data of a failed cell stay; of a new one nothing does."""
    if before == FAILED:
        take_down(opened.paths, instance, data=True)
    elif before != KEPT:
        take_down(opened.paths, instance)
        records.mark(instance, "")
