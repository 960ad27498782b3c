"""Process that removes cells if devbox cannot: `python -m devbox.matrix.reaper HOME RUNTIME`.

Stdin names active cells (`+ID`; `=ID` keeps the data) and removed ones (`-ID`). At the end of stdin, also after a kill
of devbox, active cells are removed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from devbox.engines import capabilities
from devbox.engines.select import select_engine
from devbox.execute.events import Note, Sink
from devbox.host import disk, environ, files, process
from devbox.host.paths import Paths
from devbox.model import ids
from devbox.model.spec import Instance
from devbox.project import Project, build_instance
from devbox.records.tests import KEPT, RUNNING, MatrixRecords, format_instance_name

_INHERITED = ("PATH", "DEVBOX_RUNTIME")


class CellReaper:
    """Reaper process of one run. Methods are thread-safe."""

    def __init__(self, paths: Paths) -> None:
        read_end, self._tell = os.pipe()
        module = ["-E", "-s", "-P", "-m", "devbox.matrix.reaper"]  # -P: never import from the project's directory
        env = {key: environ.get(key) for key in _INHERITED if environ.get(key)} | {"LANG": "C.UTF-8"}
        argv = [sys.executable, *module, paths.home, paths.runtime]
        try:
            self._process = process.spawn(argv, stdin=read_end, env=env, new_session=True)
        finally:
            os.close(read_end)
        self._lock = threading.Lock()

    def watch(self, instance: str, *, data: bool = False) -> None:
        """Register an instance before its start; with `data`, its data is kept on removal."""
        self._send(f"{'=' if data else '+'}{instance}\n")

    def release(self, instance: str) -> None:
        """Unregister an instance that is removed, or to be kept."""
        self._send(f"-{instance}\n")

    def end(self) -> None:
        """End the process; registered cells are removed."""
        os.close(self._tell)
        self._process.wait()

    def _send(self, line: str) -> None:
        with self._lock:
            os.write(self._tell, line.encode())


def take_down(paths: Paths, instance: str, *, data: bool = False) -> None:
    """Remove a cell: containers, data and records; with `data`, keep the data."""
    if not any(
        map(os.path.isdir, (paths.project(instance), paths.instance_runtime(instance), paths.volumes(instance)))
    ):
        return
    shell = Instance(id=instance, name=instance, root="", env_file="", owner=0, group=0)
    select_engine(paths).tear_down(shell, volumes=not data)
    if not data and os.path.isdir(paths.project(instance)):
        disk.remove(paths.project(instance))


def main() -> None:
    """Read stdin to its end, then remove active cells."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    paths, standing = Paths(sys.argv[1], sys.argv[2]), dict[str, str]()
    for line in sys.stdin:
        standing[line[1:].strip()] = line[0]
    for each, what in standing.items():
        if what != "-":
            take_down(paths, each, data=what == "=")


if __name__ == "__main__":
    main()


def sweep(project: Project, records: MatrixRecords) -> None:
    """Remove the cells of a killed run. The caller holds the lock of the tests, so that no tests run."""
    for cell, what in records.list_standing().items():
        if what == RUNNING:
            _remove_cell(project, records, cell)


def remove_cells(project: Project, sink: Sink, *, volumes: bool) -> None:
    """Remove all cells for `down`; with `volumes`, also the records of tests."""
    both = [MatrixRecords(project.paths, project.id, released=released) for released in (False, True)]
    if not (volumes or any(records.list_standing() for records in both)):
        return
    with files.lock_file(both[0].lock, wait=False) as acquired:
        if not acquired:
            sink(Note(text="tests of this project are running: their cells are kept until the end of that run"))
            return
        for records in both:
            for cell, what in records.list_standing().items():
                if volumes or what in (RUNNING, KEPT):
                    sink(Note(text=f"removing test cell {records.find_name(cell) or cell}"))
                    _remove_cell(project, records, cell)
        if volumes:
            _forget(project, both[0])


def _remove_cell(project: Project, records: MatrixRecords, cell: str) -> None:
    take_down(project.paths, cell)
    records.mark(cell, "")


def _forget(project: Project, records: MatrixRecords) -> None:
    shared = ids.compute_cell_id(project.id, "")
    kept = capabilities.open_snapshots(project.engine, build_instance(project, ""), kept_by=shared)
    for each in kept.list_all():
        kept.delete(each.name)
    take_down(project.paths, shared)
    take_down(project.paths, ids.compute_cell_id(project.id, format_instance_name("", released=True)))
    records.forget()
