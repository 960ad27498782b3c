"""Evidence of a test run about a release: bound to image, tests and matrix, signed if a key is available."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Iterable

from devbox.attest import statements, verify
from devbox.commands.signing import NamedSigner
from devbox.envfile.expand import list_credentials, resolve_tests
from devbox.envfile.load import EnvFile
from devbox.errors import RegistryError
from devbox.execute.events import Note, Sink
from devbox.host import project
from devbox.matrix import cells, schedule
from devbox.model import codec, ids
from devbox.model.ledger import TESTED, TestEvidence, TestsIdentity
from devbox.model.ledger_payloads import TestedPayload, read_shared
from devbox.model.matrix import MatrixRun, Tests
from devbox.model.release import Release
from devbox.project import Project, build_instance, prepare
from devbox.promotion import copying
from devbox.promotion.gates.context import format_timestamp
from devbox.records import lockfile
from devbox.records.ledger import Ledger
from devbox.records.projects import PlaceRecord
from devbox.roles.catalog import ROLES

_PASSED = ("passed", "cached")  # in an entry, `cached` means passed by an earlier entry


class EvidenceRecorder:
    """Recorder of a run's evidence about a release."""

    def __init__(self, project: Project, release: Release, written: Iterable[str]) -> None:
        """Read the tests before they run. Raises EnvFileError, and UsageError for a file without [test].

        HostError if the releases belong to another project.
        """
        PlaceRecord(project.paths, project.id).check(project.root, project.env_file, begins=True)
        self._project = project
        self._release = release
        tests = ReleaseTests(project)
        self._but = tests.list_excluded(written)
        self._before = tests.compute_identity(self._but)
        self._ledger = Ledger(project.paths, project.id)

    def list_proven(self) -> frozenset[str]:
        """Return the cells that passed in this image with these tests, by the ledger."""
        found: dict[str, bool] = {}
        for entry in self._ledger.read_entries():
            is_own = entry.kind == TESTED and not read_shared(entry).is_learned
            run = _load_evidence(TestedPayload.read(entry).run) if is_own else None
            if run and run.digest == self._release.image and not run.describe_difference(self._before):
                found |= {name: state in _PASSED for name, state in run.cells.items() if state != "skipped"}
        return frozenset(name for name, passed in found.items() if passed)

    def record(self, run: MatrixRun, by: NamedSigner | None, sink: Sink) -> None:
        """Record the result, signed if a key is available; nothing if the tests changed during the run."""
        if ReleaseTests(self._project).compute_identity(self._but) != self._before:
            sink(Note(text="test files changed during the run: the run is not evidence"))
            return
        states = {each.cell.name: each.state for each in run.cells}
        whole = "skipped" not in states.values() and states.keys() == {*self._before.cells}
        evidence = TestEvidence(
            digest=self._release.image,
            passed=run.exit_code == 0 and whole,
            at=format_timestamp(dt.datetime.now(dt.UTC)),
            tests=self._before,
            cells=states,
            release=self._release.id,
            run=run.id,
            but=self._but,
        )
        payload = TestedPayload(run=codec.dump(evidence), evidence=self._sign(evidence, by, sink) if by else "")
        self._ledger.append(TESTED, release=self._release.id, body=payload.to_body())

    def _sign(self, evidence: TestEvidence, by: NamedSigner, sink: Sink) -> str:
        """Attach the builder's statement to the image; return the digest of its manifest."""
        desired, paths = prepare(self._project, fresh=True), self._project.paths
        attached = verify.attach_statement(
            evidence.digest, statements.TESTS, codec.dump(evidence), by.signer, name=desired.instance.name, paths=paths
        )
        try:
            copying.send(evidence.digest, desired.stages.values(), sink, paths=paths)
        except RegistryError as error:
            sink(Note(text=f"other hosts are not informed yet of the test results: {error.sentence}"))
        return attached


def _load_evidence(plain: object) -> TestEvidence | None:
    try:
        return codec.load(TestEvidence, plain)
    except (ValueError, TypeError, AttributeError):
        return None


class ReleaseTests:
    """Current tests against a release, from the file and the project; independent of the host and of DEVBOX_HOME."""

    def __init__(self, project: Project) -> None:
        """Load the file. Raises EnvFileError, and UsageError for a file without [test]."""
        self._project = project
        self._env, self._cells = cells.load_cells(project, pinned=True)
        own = build_instance(project, self._env.name)
        placeholders = dict.fromkeys(list_credentials(self._env), "")
        tests = resolve_tests(self._env, instance=own, credentials=placeholders).tests
        assert tests is not None  # noqa: S101 - `resolve_tests` raises without them
        self._tests = tests

    def list_excluded(self, written: Iterable[str] = ()) -> tuple[str, ...]:
        """Return project paths that are not test files: the env file, its lockfile, and outputs of tests.

        `written`: reports of the run, relative to the project; directories end with a slash.
        """
        lock = lockfile.get_path("", self._project.env_file).lstrip("/")
        outputs = map(os.path.normpath, (*self._tests.junit, *self._tests.coverage))
        return tuple(sorted({self._project.env_file, project.LOCAL_FILE, lock, *outputs, *written}))

    def compute_identity(self, but: Iterable[str]) -> TestsIdentity:
        """Return the identity of the tests without the files `but`. Reads every file again."""
        return TestsIdentity(
            table=ids.compute_key(_select_table(self._env)),
            files=ids.compute_key(_read_files(self._project.root, self._tests, but)),
            matrix=ids.compute_key(codec.dump(list(self._cells))),
            cells=tuple(cell.name for cell in self._cells),
        )


def _select_table(env: EnvFile) -> object:
    """Return the tables that tests depend on, without images."""
    document = env.document
    tested = {role.name for role in ROLES if role.tested}
    plain = document.model_dump(mode="json", include={"vars", "test", *tested})
    tests = plain["test"]
    tests.pop("matrix", None)
    return plain if tests.get("needs") else {"vars": plain["vars"], "test": tests}


def _read_files(root: str, tests: Tests, but: Iterable[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="devbox-") as place:  # bypass all digest caches
        return schedule.read_source_files(root, tests.input_globs, but=but, record=f"{place}/files.json")
