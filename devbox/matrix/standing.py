"""Cells of which something is on the machine: what a killed run left, data of failed ones, what was asked to stay."""

from __future__ import annotations

from devbox.execute.events import Note, Sink
from devbox.host import files
from devbox.matrix.guardian import take_down
from devbox.model import ids
from devbox.opened import Project, instance
from devbox.records.matrix import KEPT, RUNNING, MatrixRecords, instance_name


def sweep(opened: Project, records: MatrixRecords) -> None:
    """Take away what a killed run left. The caller holds the lock of the tests, so nobody runs any."""
    for cell, what in records.standing().items():
        if what == RUNNING:
            _gone(opened, records, cell)


def leave(opened: Project, sink: Sink, *, volumes: bool) -> None:
    """For `down`: nothing of any cell runs any more; with `volumes`, nothing is known of tests either."""
    both = [MatrixRecords(opened.paths, opened.id, released=released) for released in (False, True)]
    if not (volumes or any(records.standing() for records in both)):
        return
    with files.locked(both[0].lock, wait=False) as mine:
        if not mine:
            sink(Note(text="tests of this project are running: their cells stay until they end"))
            return
        for records in both:
            for cell, what in records.standing().items():
                if volumes or what in (RUNNING, KEPT):
                    sink(Note(text=f"a cell of the tests goes: {records.name_of(cell) or cell}"))
                    _gone(opened, records, cell)
        if volumes:
            _forget(opened, both[0])


def _gone(opened: Project, records: MatrixRecords, cell: str) -> None:
    take_down(opened.paths, cell)
    records.mark(cell, "")


def _forget(opened: Project, records: MatrixRecords) -> None:
    shared = ids.cell_id(opened.id, "")
    kept = opened.engine.snapshots(instance(opened, ""), kept_by=shared)
    for each in kept.all():
        kept.forget(each.name)
    take_down(opened.paths, shared)
    take_down(opened.paths, ids.cell_id(opened.id, instance_name("", released=True)))
    records.forget()
