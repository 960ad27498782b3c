"""Implementation of `test`: runs the outdated cells of the matrix, each isolated, and merges the results."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import replace

from devbox.errors import UsageError
from devbox.execute.events import Note, Sink
from devbox.host import safe_files
from devbox.matrix import schedule
from devbox.matrix.schedule import RUN, CellDecision, MatrixObservation, MatrixRequest, Session
from devbox.model.matrix import MatrixRun, MatrixSink
from devbox.model.plan import Verdict
from devbox.model.release import Release
from devbox.project import Project
from devbox.records.releases import Releases
from devbox.records.tests import MatrixRecords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.signing import NamedSigner

NEWEST = "release"  # name of the newest release


def test(opened: Project, asked: MatrixRequest, sink: Sink, board: MatrixSink, *, by: NamedSigner | None) -> MatrixRun:
    """Run the outdated cells. The result has every cell of the file, in file order.

    `by`: signer of the tests' evidence about a release.
    """
    began, now = time.monotonic(), dt.datetime.now(dt.UTC)
    release = _find_release(opened, asked.against) if asked.against else None
    records = MatrixRecords(opened.paths, opened.id, released=release is not None)
    writes = _find_within(opened.root, asked.writes)
    records.record_written(writes)
    keeper = None
    if release:
        from devbox.commands.test_evidence import EvidenceRecorder  # reads the env file

        keeper = EvidenceRecorder(opened, release, writes)
        asked = replace(asked, proven=keeper.list_proven())
    session = _open_session(opened, records, replace(asked, against=release.id if release else ""), sink, board)
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
        records.record_run(run)
    except OSError as error:  # the results are known nevertheless
        sink(Note(text=f"cannot record the run: {error.strerror}"))
    if keeper:
        keeper.record(run, by, sink)
    return run


def list_cells(opened: Project, asked: MatrixRequest, sink: Sink) -> list[CellDecision]:
    """Return the cells and the decisions of `test`."""
    records = MatrixRecords(opened.paths, opened.id)
    seen = schedule.read_known(opened, records) or _read_matrix(opened, records)
    return schedule.decide(seen, records, _drop_last_failed(seen, records, asked, sink))


def explain_cells(opened: Project, names: tuple[str, ...]) -> tuple[Verdict, ...]:
    """Explain why cells would run or not (default: all cells)."""
    records = MatrixRecords(opened.paths, opened.id)
    seen = schedule.read_known(opened, records) or _read_matrix(opened, records)
    known = [cell.name for cell in seen.known.cells]
    for name in names:
        if name not in known:
            raise UsageError(f"cell {name} not found", remedy="devbox test --list")
    return tuple(
        Verdict(subject=each.cell.name, verdict=each.verdict, reason=each.reason)
        for each in schedule.decide(seen, records, MatrixRequest())
        if not names or each.cell.name in names
    )


def _find_within(root: str, paths: Iterable[str]) -> list[str]:
    """Return the paths inside the project, relative to it."""
    found = ((safe_files.find_relative_path(root, path), "/" if path.endswith("/") else "") for path in paths)
    return [f"{inner}{slash}" for inner, slash in found if inner]


def _find_release(opened: Project, name: str) -> Release:
    """Return the release; "release" is the newest."""
    return Releases(opened.paths, opened.id).find("" if name == NEWEST else name)


def _open_session(
    opened: Project, records: MatrixRecords, asked: MatrixRequest, sink: Sink, board: MatrixSink
) -> Session:
    """Open a session without reading the file if no cell has to run."""
    seen = schedule.read_known(opened, records, release=asked.against)
    if seen is not None and not asked.locked:
        asked = _drop_last_failed(seen, records, asked, sink)
        decided = schedule.decide(seen, records, asked)
        if all(each.verdict != RUN for each in decided):
            session = Session(seen, decided)
            session.report_cells(board)
            return session
    from devbox.matrix import session as running

    return running.run_session(opened, records, asked, sink, board)


def _drop_last_failed(
    seen: MatrixObservation, records: MatrixRecords, asked: MatrixRequest, sink: Sink
) -> MatrixRequest:
    """Drop `--last-failed` if no cell failed."""
    if not asked.last_failed or schedule.has_failed(seen, records):
        return asked
    sink(Note(text="no cell failed in the last run: running all changed cells"))
    return replace(asked, last_failed=False)


def _read_matrix(opened: Project, records: MatrixRecords) -> MatrixObservation:
    from devbox.matrix import cells

    env, every = cells.load_cells(opened)
    wanted, sources = cells.read(opened, env, every)
    return schedule.record_cells(opened, records, wanted, sources)
