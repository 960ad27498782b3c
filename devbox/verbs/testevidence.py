"""What a run of the tests against a release leaves for the gate `tests`: an entry of the ledger, and a signature."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from devbox.attest import signing, statements
from devbox.errors import RegistryError
from devbox.execute import exchange
from devbox.execute.events import Note, Sink
from devbox.matrix.identity import ReleaseTests
from devbox.model import codec
from devbox.model.entry import TESTED
from devbox.model.evidence import TestEvidence
from devbox.model.matrix import MatrixRun
from devbox.model.release import Release
from devbox.opened import Project, load
from devbox.promotion.gates.contract import written
from devbox.records.ledger import Ledger
from devbox.records.places import PlaceRecord
from devbox.verbs.signing import Named

_PASSED = ("passed", "cached")  # in an entry, `cached` stands for what passed by an earlier entry


class Keeper:
    """The evidence of one run against one release."""

    def __init__(self, opened: Project, release: Release, written: Iterable[str]) -> None:
        """Look at the tests before they run. Raises EnvFileError, and UsageError for a file without [test].

        HostError if the releases belong to another project.
        """
        PlaceRecord(opened.paths, opened.id).check(opened.root, opened.env_file, begins=True)
        self._opened = opened
        self._release = release
        tests = ReleaseTests(opened)
        self._but = tests.excluded(written)
        self._before = tests.identity(self._but)
        self._ledger = Ledger(opened.paths, opened.id)

    def proven(self) -> frozenset[str]:
        """The cells of which the ledger says that they passed in this image, by these very tests."""
        found: dict[str, bool] = {}
        for entry in self._ledger.entries():
            is_own = entry.kind == TESTED and "seen" not in entry.body
            run = _run(entry.body.get("run")) if is_own else None
            if run and run.digest == self._release.image and not run.differs(self._before):
                found |= {name: state in _PASSED for name, state in run.cells.items() if state != "skipped"}
        return frozenset(name for name, passed in found.items() if passed)

    def keep(self, run: MatrixRun, by: Named | None, sink: Sink) -> None:
        """Enter what the run said, signed if a key is at hand; nothing if the tests changed while they ran."""
        if ReleaseTests(self._opened).identity(self._but) != self._before:
            sink(Note(text="files of the tests changed while they ran: this run is no evidence"))
            return
        states = {each.cell.name: each.state for each in run.cells}
        whole = "skipped" not in states.values() and states.keys() == {*self._before.cells}
        said = TestEvidence(
            digest=self._release.image,
            passed=run.exit_code == 0 and whole,
            at=written(dt.datetime.now(dt.UTC)),
            tests=self._before,
            cells=states,
            release=self._release.id,
            run=run.id,
            but=self._but,
        )
        body = {"run": codec.dump(said), "evidence": self._sign(said, by, sink) if by else ""}
        self._ledger.append(TESTED, release=self._release.id, body=body)

    def _sign(self, said: TestEvidence, by: Named, sink: Sink) -> str:
        """Attach the builder's word to the image; the digest of the manifest that carries it."""
        resolved, paths = load(self._opened, fresh=True), self._opened.paths
        made = signing.say(
            said.digest, statements.TESTS, codec.dump(said), by.signer, name=resolved.instance.name, paths=paths
        )
        try:
            exchange.send(said.digest, resolved.stages.values(), sink, paths=paths)
        except RegistryError as error:
            sink(Note(text=f"other machines do not know yet what the tests said: {error.sentence}"))
        return made


def _run(plain: object) -> TestEvidence | None:
    try:
        return codec.load(TestEvidence, plain)
    except (ValueError, TypeError, AttributeError):
        return None
