"""One run of the cells that have to run: read the file, bake, start a crew, write down what came of each."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from devbox.execute import sourcetree
from devbox.execute.events import Note, Sink
from devbox.execute.locks import Locks
from devbox.host import files
from devbox.host.machine import available_memory, cores
from devbox.images import gate
from devbox.matrix import against, bakes, cells, looking, reading, standing
from devbox.matrix.crew import Crew
from devbox.matrix.guardian import Guardian, take_down
from devbox.matrix.looking import RUN, SKIPPED, Asked, Seen
from devbox.matrix.outcome import Session
from devbox.matrix.ready import ReadyData
from devbox.matrix.running import CellRun, Surroundings
from devbox.model.matrix import CellResult, MatrixSink
from devbox.opened import Project, complete_lock, exclusive, load
from devbox.plan import matrix
from devbox.records.matrix import MatrixRecords

_EACH = 512 << 20  # bytes that a cell is reckoned to need, with its services, where the file sets no limit
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HOLDS = 0.8  # of the memory that is free


def carry_out(opened: Project, records: MatrixRecords, asked: Asked, sink: Sink, board: MatrixSink) -> Session:
    """Run what has to run."""
    with _alone(opened, records, sink):
        session, wanted, lacking = _prepared(opened, records, asked, sink)
        session.tell(board, lacking)
        runs = [one for name, one in wanted.items() if name not in session.results]
        if runs:
            _run(opened, records, asked, session, runs, sink, board)
            with suppress(OSError):  # the disk is full, which was said
                _settle(opened, records, session, runs, sink)
    return session


def _settle(opened: Project, records: MatrixRecords, session: Session, wanted: list[cells.Wanted], sink: Sink) -> None:
    """Where files changed while cells ran, it is not known which of them a cell saw: it runs again the next time."""
    if not looking.unsettled(opened, records, session.seen):
        return
    sink(Note(text="files of the project changed while the tests ran: these cells run again the next time"))
    for one in wanted:
        result = session.results.get(one.cell.name)
        if result is not None and result.attempts:
            records.remember(replace(session.seen.inputs[one.cell.name], files=""), result)


@contextmanager
def _alone(opened: Project, records: MatrixRecords, sink: Sink) -> Iterator[None]:
    """Nobody else runs tests of the project meanwhile, and what a killed run left is gone."""
    with files.locked(records.lock, wait=False) as got:
        if got:
            with gate.kept(opened.paths):
                standing.sweep(opened, records)
                yield
            return
    holder = files.lock_holder(records.lock)
    sink(Note(text=f"waiting for another devbox test of this project{f' (pid {holder})' if holder else ''}"))
    with files.locked(records.lock), gate.kept(opened.paths):
        standing.sweep(opened, records)
        yield


def _prepared(
    opened: Project, records: MatrixRecords, asked: Asked, sink: Sink
) -> tuple[Session, dict[str, cells.Wanted], dict[str, str]]:
    """The cells that are to run, their images baked; and those that lack one, with the reason."""
    with exclusive(opened, sink):
        release = against.find(opened, asked.against) if asked.against else None
        env, every = cells.every(opened, pinned=release is not None)
        wanted, sources = reading.read(opened, env, every, against=release)
        seen = looking.note(opened, records, wanted, sources)
        first = {each.cell.name: each for each in looking.decide(seen, records, asked)}
        if asked.locked:
            _demand(opened, [one for one in wanted if first[one.cell.name].verdict != SKIPPED])
        running = cells.allowed(opened, (one for one in wanted if first[one.cell.name].verdict == RUN))
        lacking = bakes.bake(opened, running, sink, locked=asked.locked)
        running = [cells.fixed(one) for one in running]
        fresh = {one.cell.name: one for one in running}
        wanted = [fresh.get(one.cell.name, one) for one in wanted]
        bakes.remember(opened, wanted)
        if not asked.locked:
            complete_lock(opened, bakes.together(wanted, load(opened)), sink)
        seen = looking.note(opened, records, wanted, sources)
    # With its packages fixed, a cell may turn out to be one that passed. Others are what they were a moment ago.
    again = looking.decide(seen, records, asked)
    decided = [each if each.cell.name in fresh else first[each.cell.name] for each in again]
    session = Session(seen, decided, jobs=_jobs(asked, running))
    return session, {each.cell.name: fresh[each.cell.name] for each in decided if each.verdict == RUN}, lacking


def _demand(opened: Project, meant: list[cells.Wanted]) -> None:
    """NotLocked where the lock does not fix all images of these cells."""
    resolved = load(opened)
    names = dict.fromkeys(name for one in meant for name in one.names.values())
    baked = bakes.together(meant, resolved)
    Locks(resolved.instance).demand(bakes.together(meant, resolved, by_lock=True), names, baked=baked)


def _jobs(asked: Asked, running: list[cells.Wanted]) -> int:
    if asked.jobs or not running:
        return min(asked.jobs, len(running))
    each = max((_memory(one) for one in running), default=_EACH)
    memory = int(available_memory() * _HOLDS)
    return matrix.jobs(cells=len(running), cores=cores(), memory=memory, each=each)


def _memory(one: cells.Wanted) -> int:
    limits = [spec.limits.memory for spec in one.resolved.containers.values()]
    return max(_EACH, sum(limit for limit in limits if limit))


def _run(
    opened: Project,
    records: MatrixRecords,
    asked: Asked,
    session: Session,
    wanted: list[cells.Wanted],
    sink: Sink,
    board: MatrixSink,
) -> None:
    """Run the cells, and write down what comes of each at once."""
    seen, reasons = session.seen, {each.cell.name: each.reason for each in session.decided}

    guardian = Guardian(opened.paths)
    try:
        around = Surroundings(
            records=records,
            guardian=guardian,
            ready=ready_data(opened, records, seen.tree),
            board=board,
            slots=threading.Semaphore(session.jobs),
            keep=asked.keep,
        )
        runs = [CellRun(one, around, reason=reasons[one.cell.name]) for one in wanted]
        crew = Crew(around, runs, jobs=session.jobs, fail_fast=any(one.tests.fail_fast for one in wanted))

        def remember(run: CellRun, result: CellResult) -> None:
            name = run.wanted.cell.name
            session.results[name] = result
            if result.attempts or result.state == "error":
                _remember(opened, records, seen, result, sink)

        with _signals(crew):
            crew.work(remember)
        session.interrupted = crew.interrupted
    finally:
        guardian.end()


def _remember(opened: Project, records: MatrixRecords, seen: Seen, result: CellResult, sink: Sink) -> None:
    """Write down what came of a cell. Where there is no room for that, what it left goes."""
    name = result.cell.name
    for last in (False, True):
        try:
            records.remember_tree(seen.inputs[name].files, seen.tree)
            records.remember(seen.inputs[name], result)
        except OSError as error:
            with suppress(OSError):
                take_down(opened.paths, records.cell_id(name))
                records.mark(records.cell_id(name), "")
            if last:
                sink(Note(text=f"what came of {name} could not be written down: {error.strerror}"))
        else:
            return


def ready_data(opened: Project, records: MatrixRecords, tree: Mapping[str, str]) -> ReadyData:
    """The data of services that are ready. `tree`: the files that tests depend on, where the file names no others."""

    def read(patterns: tuple[str, ...]) -> Mapping[str, str]:
        if not patterns:
            return tree
        return sourcetree.read(opened.root, patterns, but=(), record=f"{records.directory}/ready-files.json")

    return ReadyData(opened.engine, opened.id, read)


@contextmanager
def _signals(crew: Crew) -> Iterator[None]:
    """Ctrl-C and requests to end interrupt the crew; a second one ends devbox, and the guardian does the rest."""

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
