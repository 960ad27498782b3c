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


def test(
    project: Project, request: MatrixRequest, sink: Sink, board: MatrixSink, *, by: NamedSigner | None
) -> MatrixRun:
    """Run the outdated cells. The result has every cell of the file, in file order.

    `by`: signer of the tests' evidence about a release.
    """
    began, now = time.monotonic(), dt.datetime.now(dt.UTC)
    release = _find_release(project, request.against) if request.against else None
    records = MatrixRecords(project.paths, project.id, released=release is not None)
    writes = _find_within(project.root, request.writes)
    records.record_written(writes)
    recorder = None
    if release:
        from devbox.commands.test_evidence import EvidenceRecorder  # reads the env file

        recorder = EvidenceRecorder(project, release, writes)
        request = replace(request, proven=recorder.list_proven())
    session = _open_session(project, records, replace(request, against=release.id if release else ""), sink, board)
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
    if recorder:
        recorder.record(run, by, sink)
    return run


def list_cells(project: Project, request: MatrixRequest, sink: Sink) -> list[CellDecision]:
    """Return the cells and the decisions of `test`."""
    records = MatrixRecords(project.paths, project.id)
    seen = schedule.read_known(project, records) or _read_matrix(project, records)
    return schedule.decide(seen, records, _drop_last_failed(seen, records, request, sink))


def explain_cells(project: Project, names: tuple[str, ...]) -> tuple[Verdict, ...]:
    """Explain why cells would run or not (default: all cells)."""
    records = MatrixRecords(project.paths, project.id)
    seen = schedule.read_known(project, records) or _read_matrix(project, records)
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


def _find_release(project: Project, name: str) -> Release:
    """Return the release; "release" is the newest."""
    return Releases(project.paths, project.id).find("" if name == NEWEST else name)


def _open_session(
    project: Project, records: MatrixRecords, request: MatrixRequest, sink: Sink, board: MatrixSink
) -> Session:
    """Open a session without reading the file if no cell has to run."""
    seen = schedule.read_known(project, records, release=request.against)
    if seen is not None and not request.locked:
        request = _drop_last_failed(seen, records, request, sink)
        decided = schedule.decide(seen, records, request)
        if all(each.verdict != RUN for each in decided):
            session = Session(seen, decided)
            session.report_cells(board)
            return session
    from devbox.matrix import session as running

    return running.run_session(project, records, request, sink, board)


def _drop_last_failed(
    seen: MatrixObservation, records: MatrixRecords, request: MatrixRequest, sink: Sink
) -> MatrixRequest:
    """Drop `--last-failed` if no cell failed."""
    if not request.last_failed or schedule.has_failed(seen, records):
        return request
    sink(Note(text="no cell failed in the last run: running all changed cells"))
    return replace(request, last_failed=False)


def _read_matrix(project: Project, records: MatrixRecords) -> MatrixObservation:
    from devbox.matrix import cells

    env, every = cells.load_cells(project)
    desired, sources = cells.read(project, env, every)
    return schedule.record_cells(project, records, desired, sources)
