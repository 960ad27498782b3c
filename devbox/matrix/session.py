"""Test session: read the file, build images, run the cells in parallel and record each result."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from devbox.execute.events import Note, Sink
from devbox.execute.locks import Locks
from devbox.host import files
from devbox.host.environ import count_cores, read_available_memory
from devbox.images.store import lock
from devbox.matrix import bake, cells, reaper, release_under_test, schedule
from devbox.matrix.run import CellRun, RunContext
from devbox.matrix.schedule import RUN, SKIPPED, MatrixObservation, MatrixRequest, Session
from devbox.matrix.service_data import ReadyData
from devbox.model.matrix import CellDone, CellEvent, CellResult, MatrixSink
from devbox.plan import matrix
from devbox.project import Project, complete_lock, lock_instance, prepare
from devbox.records.tests import MatrixRecords

OnResult = Callable[[CellRun, CellResult], None]


class WorkerPool:
    """Worker pool of one session. Results are delivered in the calling thread only."""

    def __init__(self, around: RunContext, runs: Sequence[CellRun], *, jobs: int, fail_fast: bool) -> None:
        self._around = around
        self._waiting = deque(runs)
        self._active: set[CellRun] = set()
        self._guard = threading.Lock()
        self._results: queue.SimpleQueue[tuple[CellRun, CellResult]] = queue.SimpleQueue()
        self._fail_fast = fail_fast
        self._failed = ""  # the failed cell that stops further starts
        self._hands = min(len(runs), jobs + 1 if jobs > 1 else jobs)
        self.interrupted = False

    def work(self, on_result: OnResult) -> None:
        """Run all cells; deliver each result when it arrives."""
        left = len(self._waiting)
        for each in self._waiting:
            self._around.board(CellEvent(cell=each.desired.cell.name, phase="waiting", at=time.monotonic()))
        for number in range(self._hands):
            threading.Thread(target=self._run_worker, name=f"cells-{number}", daemon=True).start()
        for _ in range(left):
            run, result = self._results.get()
            on_result(run, result)
            self._around.board(CellDone(result=result, at=time.monotonic()))

    def interrupt(self) -> None:
        """Start no more cells and abort running ones in parallel. Called from a signal handler."""
        self.interrupted = True
        self._around.stopping.set()
        with self._guard:  # never held by the main thread, which runs handlers
            active = tuple(self._active)
        for run in active:
            threading.Thread(target=run.abort, daemon=True).start()

    def _run_worker(self) -> None:
        """Run waiting cells until none is left."""
        while (run := self._pop_next()) is not None:
            try:
                result = self._check_skipped(run) or run.run()
            except BaseException as error:  # noqa: BLE001 - a cell without a result would block the session
                sentence = f"internal error: {type(error).__name__}: {error}"
                result = CellResult(cell=run.desired.cell, state="error", reason=sentence)
            with self._guard:
                self._active.discard(run)
                if self._fail_fast and not result.is_green and not self._failed:
                    self._failed = result.cell.name
            self._results.put((run, result))

    def _pop_next(self) -> CellRun | None:
        with self._guard:
            if not self._waiting:
                return None
            run = self._waiting.popleft()
            self._active.add(run)
            return run

    def _check_skipped(self, run: CellRun) -> CellResult | None:
        """Return the result of a cell that does not start any more."""
        blank = CellResult(cell=run.desired.cell, state="skipped")
        if self._around.stopping.is_set():
            return replace(blank, reason="interrupted before its start")
        if self._failed:
            return replace(blank, reason=f"not started (fail_fast): {self._failed} failed")
        return None


_EACH = 512 << 20  # estimated bytes per cell with its services, without a memory limit in the file
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HOLDS = 0.8  # of the available memory


def run_session(
    project: Project, records: MatrixRecords, request: MatrixRequest, sink: Sink, board: MatrixSink
) -> Session:
    """Run a test session."""
    with _lock_exclusively(project, records, sink):
        session, desired, missing = _prepare(project, records, request, sink)
        session.report_cells(board, missing)
        runs = [one for name, one in desired.items() if name not in session.results]
        if runs:
            _run(project, records, request, session, runs, sink, board)
            with suppress(OSError):  # the disk is full, as already reported
                _invalidate_changed(project, records, session, runs, sink)
    return session


def _invalidate_changed(
    project: Project, records: MatrixRecords, session: Session, desired: list[cells.DesiredCell], sink: Sink
) -> None:
    """Invalidate results if project files changed during the run: the cells run again next time."""
    if not schedule.has_changed(project, records, session.seen):
        return
    sink(Note(text="project files changed during the tests: these cells run again next time"))
    for one in desired:
        result = session.results.get(one.cell.name)
        if result is not None and result.attempts:
            records.record_result(replace(session.seen.inputs[one.cell.name], files=""), result)


@contextmanager
def _lock_exclusively(project: Project, records: MatrixRecords, sink: Sink) -> Iterator[None]:
    """Lock the project's tests and remove the cells of a killed run."""
    with files.lock_file(records.lock, wait=False) as got:
        if got:
            with lock.lock_shared(project.paths):
                reaper.sweep(project, records)
                yield
            return
    holder = files.read_lock_holder(records.lock)
    sink(Note(text=f"waiting for another devbox test of this project{f' (pid {holder})' if holder else ''}"))
    with files.lock_file(records.lock), lock.lock_shared(project.paths):
        reaper.sweep(project, records)
        yield


def _prepare(
    project: Project, records: MatrixRecords, request: MatrixRequest, sink: Sink
) -> tuple[Session, dict[str, cells.DesiredCell], dict[str, str]]:
    """Build the images of the cells to run; also return the cells without an image, with the reason."""
    with lock_instance(project, sink):
        release = release_under_test.find(project, request.against) if request.against else None
        env, every = cells.load_cells(project, pinned=release is not None)
        desired, sources = cells.read(project, env, every, against=release)
        seen = schedule.record_cells(project, records, desired, sources)
        first = {each.cell.name: each for each in schedule.decide(seen, records, request)}
        if request.locked:
            _demand(project, [one for one in desired if first[one.cell.name].verdict != SKIPPED])
        running = cells.check_access(project, (one for one in desired if first[one.cell.name].verdict == RUN))
        missing = bake.bake(project, running, sink, locked=request.locked)
        running = [cells.pin_cell(one) for one in running]
        fresh = {one.cell.name: one for one in running}
        desired = [fresh.get(one.cell.name, one) for one in desired]
        bake.remember(project, desired)
        if not request.locked:
            complete_lock(project, bake.merge_cells(desired, prepare(project)), sink)
        seen = schedule.record_cells(project, records, desired, sources)
    # With pinned packages, a cell may match one that passed. Other decisions stay.
    again = schedule.decide(seen, records, request)
    decided = [each if each.cell.name in fresh else first[each.cell.name] for each in again]
    session = Session(seen, decided, jobs=_count_jobs(request, running))
    return session, {each.cell.name: fresh[each.cell.name] for each in decided if each.verdict == RUN}, missing


def _demand(project: Project, selected: list[cells.DesiredCell]) -> None:
    """Raise NotLocked unless the lockfile pins all images of these cells."""
    desired = prepare(project)
    names = dict.fromkeys(name for one in selected for name in one.names.values())
    baked, locked = bake.merge_cells(selected, desired), bake.merge_cells(selected, desired, by_lock=True)
    Locks(desired.instance).demand(locked, locked.images, names, baked=baked.images)


def _count_jobs(request: MatrixRequest, running: list[cells.DesiredCell]) -> int:
    if request.jobs or not running:
        return min(request.jobs, len(running))
    each = max((_estimate_memory(one) for one in running), default=_EACH)
    memory = int(read_available_memory() * _HOLDS)
    return matrix.count_jobs(cells=len(running), cores=count_cores(), memory=memory, each=each)


def _estimate_memory(one: cells.DesiredCell) -> int:
    limits = [spec.limits.memory for spec in one.resolved.containers.values()]
    return max(_EACH, sum(limit for limit in limits if limit))


def _run(
    project: Project,
    records: MatrixRecords,
    request: MatrixRequest,
    session: Session,
    desired: list[cells.DesiredCell],
    sink: Sink,
    board: MatrixSink,
) -> None:
    """Run the cells and record each result at once."""
    seen, reasons = session.seen, {each.cell.name: each.reason for each in session.decided}

    guardian = reaper.CellReaper(project.paths)
    try:
        around = RunContext(
            records=records,
            guardian=guardian,
            ready=open_ready_data(project, records, seen.tree),
            board=board,
            slots=threading.Semaphore(session.jobs),
            keep=request.keep,
        )
        runs = [CellRun(one, around, reason=reasons[one.cell.name]) for one in desired]
        crew = WorkerPool(around, runs, jobs=session.jobs, fail_fast=any(one.tests.fail_fast for one in desired))

        def remember(run: CellRun, result: CellResult) -> None:
            name = run.desired.cell.name
            session.results[name] = result
            if result.attempts or result.state == "error":
                _remember(project, records, seen, result, sink)

        with _handle_signals(crew):
            crew.work(remember)
        session.interrupted = crew.interrupted
    finally:
        guardian.end()


def _remember(
    project: Project, records: MatrixRecords, seen: MatrixObservation, result: CellResult, sink: Sink
) -> None:
    """Record a cell's result. If the disk is full, remove the cell's remains and retry."""
    name = result.cell.name
    for last in (False, True):
        try:
            records.record_tree(seen.inputs[name].files, seen.tree)
            records.record_result(seen.inputs[name], result)
        except OSError as error:
            with suppress(OSError):
                reaper.take_down(project.paths, records.compute_cell_id(name))
                records.mark(records.compute_cell_id(name), "")
            if last:
                sink(Note(text=f"cannot record the result of {name}: {error.strerror}"))
        else:
            return


def open_ready_data(project: Project, records: MatrixRecords, tree: Mapping[str, str]) -> ReadyData:
    """Return the prepared data. `tree`: input files of the tests, used if the file names no patterns."""

    def read(patterns: tuple[str, ...]) -> Mapping[str, str]:
        if not patterns:
            return tree
        return schedule.read_source_files(
            project.root, patterns, but=(), record=f"{records.directory}/ready-files.json"
        )

    return ReadyData(project.engine, project.id, read)


@contextmanager
def _handle_signals(crew: WorkerPool) -> Iterator[None]:
    """Interrupt the pool on Ctrl-C or termination; a second signal ends devbox, and the reaper cleans up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if crew.interrupted:
            raise KeyboardInterrupt
        crew.interrupt()

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
