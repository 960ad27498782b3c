"""Implementation of `test`: runs the outdated cells of the matrix, each isolated, and merges the results."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import replace

from devbox.attest import statements, verify
from devbox.commands.signing import NamedSigner
from devbox.errors import RegistryError, UsageError
from devbox.execute.events import Note, Sink
from devbox.host import safe_files
from devbox.matrix import schedule
from devbox.matrix.schedule import RUN, CellDecision, MatrixObservation, MatrixRequest
from devbox.matrix.session import Session
from devbox.matrix.tests_identity import ReleaseTests
from devbox.model import codec
from devbox.model.ledger import TESTED, TestEvidence
from devbox.model.matrix import MatrixRun, MatrixSink
from devbox.model.plan import Verdict
from devbox.model.release import Release
from devbox.project import Project, prepare
from devbox.promotion import copying
from devbox.promotion.gates.context import format_timestamp
from devbox.records.ledger import Ledger
from devbox.records.projects import PlaceRecord
from devbox.records.releases import Releases
from devbox.records.tests import MatrixRecords

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
        # modules that read the env file are loaded on demand

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
        sink(Note(text=f"the run could not be written down: {error.strerror}"))
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
            raise UsageError(f"there is no cell {name}", remedy="devbox test --list shows them")
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
    sink(Note(text="no cell failed last time: all that changed are run"))
    return replace(asked, last_failed=False)


def _read_matrix(opened: Project, records: MatrixRecords) -> MatrixObservation:
    from devbox.matrix import cells

    env, every = cells.load_cells(opened)
    wanted, sources = cells.read(opened, env, every)
    return schedule.record_cells(opened, records, wanted, sources)


_PASSED = ("passed", "cached")  # in an entry, `cached` means passed by an earlier entry


class EvidenceRecorder:
    """Recorder of a run's evidence about a release."""

    def __init__(self, opened: Project, release: Release, written: Iterable[str]) -> None:
        """Read the tests before they run. Raises EnvFileError, and UsageError for a file without [test].

        HostError if the releases belong to another project.
        """
        PlaceRecord(opened.paths, opened.id).check(opened.root, opened.env_file, begins=True)
        self._opened = opened
        self._release = release
        tests = ReleaseTests(opened)
        self._but = tests.list_excluded(written)
        self._before = tests.compute_identity(self._but)
        self._ledger = Ledger(opened.paths, opened.id)

    def list_proven(self) -> frozenset[str]:
        """Return the cells that passed in this image with these tests, by the ledger."""
        found: dict[str, bool] = {}
        for entry in self._ledger.read_entries():
            is_own = entry.kind == TESTED and "seen" not in entry.body
            run = _load_evidence(entry.body.get("run")) if is_own else None
            if run and run.digest == self._release.image and not run.describe_difference(self._before):
                found |= {name: state in _PASSED for name, state in run.cells.items() if state != "skipped"}
        return frozenset(name for name, passed in found.items() if passed)

    def record(self, run: MatrixRun, by: NamedSigner | None, sink: Sink) -> None:
        """Record the result, signed if a key is available; nothing if the tests changed during the run."""
        if ReleaseTests(self._opened).compute_identity(self._but) != self._before:
            sink(Note(text="files of the tests changed while they ran: this run is no evidence"))
            return
        states = {each.cell.name: each.state for each in run.cells}
        whole = "skipped" not in states.values() and states.keys() == {*self._before.cells}
        said = TestEvidence(
            digest=self._release.image,
            passed=run.exit_code == 0 and whole,
            at=format_timestamp(dt.datetime.now(dt.UTC)),
            tests=self._before,
            cells=states,
            release=self._release.id,
            run=run.id,
            but=self._but,
        )
        body = {"run": codec.dump(said), "evidence": self._sign(said, by, sink) if by else ""}
        self._ledger.append(TESTED, release=self._release.id, body=body)

    def _sign(self, said: TestEvidence, by: NamedSigner, sink: Sink) -> str:
        """Attach the builder's statement to the image; return the digest of its manifest."""
        resolved, paths = prepare(self._opened, fresh=True), self._opened.paths
        made = verify.attach_statement(
            said.digest, statements.TESTS, codec.dump(said), by.signer, name=resolved.instance.name, paths=paths
        )
        try:
            copying.send(said.digest, resolved.stages.values(), sink, paths=paths)
        except RegistryError as error:
            sink(Note(text=f"other machines do not know yet what the tests said: {error.sentence}"))
        return made


def _load_evidence(plain: object) -> TestEvidence | None:
    try:
        return codec.load(TestEvidence, plain)
    except (ValueError, TypeError, AttributeError):
        return None
