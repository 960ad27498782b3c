"""`devbox test`: every cell of the matrix that has to run, in a world of its own; what came of all of them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import replace

from devbox.errors import UsageError
from devbox.execute.events import Note, Sink
from devbox.host import beneath
from devbox.matrix import looking
from devbox.matrix.looking import RUN, Asked, Decided, Seen
from devbox.matrix.outcome import Session
from devbox.model.matrix import MatrixRun, MatrixSink
from devbox.model.release import Release
from devbox.model.verdict import Verdict
from devbox.opened import Project
from devbox.records.matrix import MatrixRecords
from devbox.records.releases import Releases
from devbox.verbs.signing import Named

NEWEST = "release"  # how the newest release is called


def test(opened: Project, asked: Asked, sink: Sink, board: MatrixSink, *, by: Named | None) -> MatrixRun:
    """Run what has to run. The result has every cell of the file, in its order.

    `by`: who signs what the tests say about a release.
    """
    began, now = time.monotonic(), dt.datetime.now(dt.UTC)
    release = _release(opened, asked.against) if asked.against else None
    records = MatrixRecords(opened.paths, opened.id, released=release is not None)
    writes = _within(opened.root, asked.writes)
    records.remember_written(writes)
    keeper = None
    if release:
        from devbox.verbs.testevidence import Keeper  # what reads the env file is loaded where it is read

        keeper = Keeper(opened, release, writes)
        asked = replace(asked, proven=keeper.proven())
    session = _session(opened, records, replace(asked, against=release.id if release else ""), sink, board)
    cells = session.seen.known.cells
    run = MatrixRun(
        id=now.strftime("%Y%m%dT%H%M%S.%fZ"),
        project=session.seen.known.project,
        cells=tuple(session.results[cell.name] for cell in cells),
        started_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=time.monotonic() - began,
        directory=records.directory,
        jobs=session.jobs,
        release=release.image if release else "",
        interrupted=session.interrupted,
    )
    try:
        records.remember_run(run)
    except OSError as error:  # what came of it is known all the same
        sink(Note(text=f"the run could not be written down: {error.strerror}"))
    if keeper:
        keeper.keep(run, by, sink)
    return run


def listed(opened: Project, asked: Asked, sink: Sink) -> list[Decided]:
    """The cells, and what `test` would do with each."""
    records = MatrixRecords(opened.paths, opened.id)
    seen = looking.look(opened, records) or _read(opened, records)
    return looking.decide(seen, records, _sensible(seen, records, asked, sink))


def why(opened: Project, names: tuple[str, ...]) -> tuple[Verdict, ...]:
    """Why each cell would run or not; of all, or of those that are named."""
    records = MatrixRecords(opened.paths, opened.id)
    seen = looking.look(opened, records) or _read(opened, records)
    known = [cell.name for cell in seen.known.cells]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no cell {name}", remedy="devbox test --list shows them")
    return tuple(
        Verdict(subject=each.cell.name, verdict=each.verdict, reason=each.reason)
        for each in looking.decide(seen, records, Asked())
        if not names or each.cell.name in names
    )


def _within(root: str, paths: Iterable[str]) -> list[str]:
    """Those of the paths that lie in the project, relative to it."""
    found = ((beneath.within(root, path), "/" if path.endswith("/") else "") for path in paths)
    return [f"{inner}{slash}" for inner, slash in found if inner]


def _release(opened: Project, name: str) -> Release:
    """The release that is meant; "release" is the newest."""
    return Releases(opened.paths, opened.id).find("" if name == NEWEST else name)


def _session(opened: Project, records: MatrixRecords, asked: Asked, sink: Sink, board: MatrixSink) -> Session:
    """Without reading the file, where nothing has to run."""
    seen = looking.look(opened, records, release=asked.against)
    if seen is not None and not asked.locked:
        asked = _sensible(seen, records, asked, sink)
        decided = looking.decide(seen, records, asked)
        if all(each.verdict != RUN for each in decided):
            session = Session(seen, decided)
            session.tell(board)
            return session
    from devbox.matrix import session as running

    return running.carry_out(opened, records, asked, sink, board)


def _sensible(seen: Seen, records: MatrixRecords, asked: Asked, sink: Sink) -> Asked:
    """Where nothing failed, what failed last is no choice."""
    if not asked.last_failed or looking.any_failed(seen, records):
        return asked
    sink(Note(text="no cell failed last time: all that changed are run"))
    return replace(asked, last_failed=False)


def _read(opened: Project, records: MatrixRecords) -> Seen:
    from devbox.matrix import cells, reading

    env, every = cells.every(opened)
    wanted, sources = reading.read(opened, env, every)
    return looking.note(opened, records, wanted, sources)
