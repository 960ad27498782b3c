"""Results of `devbox test --against release`: evidence on this host, and signed evidence for other hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario.promotion.test_machines import Machine, served
from support.registry import Registry
from support.shop import APP, Shop

from devbox.attest import keys, statements, verify
from devbox.commands.signing import NamedSigner
from devbox.commands.test_evidence import EvidenceRecorder
from devbox.matrix.schedule import CACHED, RUN, CellDecision, MatrixRequest, _require_evidence
from devbox.model import codec
from devbox.model.ledger import TESTED
from devbox.model.matrix import Cell, CellResult, MatrixRun
from devbox.model.plan import PASS, PENDING
from devbox.model.release import Release

__all__ = ["served"]

FILE = (
    'vars = { level = "1" }\n'
    + APP
    + """
[test]
from = "app"
command = "true"
[test.matrix]
level = ["1", "2"]
"""
)
GATE = 'gates = [{ kind = "tests" }]\n'
NAMES = ("level=1", "level=2")


@pytest.fixture
def tested(tmp_path: Path, home: Path) -> Shop:
    return Shop(tmp_path, f"{FILE}[stage.test]\n{GATE}")


def _run(**states: str) -> MatrixRun:
    found = tuple(
        CellResult(cell=Cell(name=name, axes={}, variables={}), state=states.get(name.replace("=", ""), "passed"))
        for name in NAMES
    )
    return MatrixRun(id="r", project="shop", cells=found, started_at="2026-01-01T00:00:00Z", seconds=1, directory="")


def _keep(shop: Shop, made: Release, by: NamedSigner | None = None, **states: str) -> None:
    EvidenceRecorder(shop.opened, made, ()).record(_run(**states), by, lambda _: None)


def test_a_run_of_all_cells_opens_the_gate_and_one_of_some_does_not(tested: Shop):
    made = tested.release(1)
    assert tested.why("test", made)["tests"].verdict == PENDING
    _keep(tested, made, level2="skipped")
    assert tested.why("test", made)["tests"].verdict != PASS
    _keep(tested, made)
    assert tested.why("test", made)["tests"].verdict == PASS
    assert tested.promote("test", made).changed


def test_issue10_3_an_earlier_result_counts_only_by_an_entry_of_the_ledger(tested: Shop):
    """Results of cells lie below DEVBOX_HOME: a forged green one must not become signed evidence."""
    made = tested.release(1)
    assert EvidenceRecorder(tested.opened, made, ()).list_proven() == frozenset()
    _keep(tested, made, level2="failed")
    assert EvidenceRecorder(tested.opened, made, ()).list_proven() == {"level=1"}
    _keep(tested, made, level1="cached", level2="passed")
    assert EvidenceRecorder(tested.opened, made, ()).list_proven() == {*NAMES}
    assert EvidenceRecorder(tested.opened, tested.release(2), ()).list_proven() == frozenset(), "of another image"
    Path(tested.root, "test_new.py").write_text("")
    assert EvidenceRecorder(tested.opened, made, ()).list_proven() == frozenset(), "of other tests"
    cell = Cell(name="level=1", axes={}, variables={})
    cached = CellDecision(cell=cell, verdict=CACHED, reason="", last=CellResult(cell=cell, state="passed"))
    assert _require_evidence(cached, MatrixRequest(proven=frozenset({"level=2"}))).verdict == RUN
    assert _require_evidence(cached, MatrixRequest(proven=frozenset({"level=1"}))).verdict == CACHED
    assert _require_evidence(cached, MatrixRequest()).verdict == CACHED


def test_issue10_3_tests_that_change_while_they_run_leave_no_evidence(tested: Shop):
    made = tested.release(1)
    keeper, notes = EvidenceRecorder(tested.opened, made, ()), []
    Path(tested.root, "test_new.py").write_text("")
    keeper.record(_run(), None, notes.append)
    assert "changed during the run" in notes[0].text
    assert not [entry for entry in tested.entries() if entry.kind == TESTED]


def test_issue10_3_a_report_file_is_not_an_input_of_the_tests(tested: Shop):
    made = tested.release(1)
    keeper = EvidenceRecorder(tested.opened, made, ["out/report.xml"])
    Path(tested.root, "out").mkdir()
    Path(tested.root, "out/report.xml").write_text("<testsuite/>")
    keeper.record(_run(), None, lambda _: None)
    assert tested.why("test", made)["tests"].verdict == PASS


@pytest.fixture
def tested_machines(served: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Machine, Machine]:
    """Two hosts; `staging` requires tests."""
    text = f'{FILE}[builders]\nci = "keys/ci.pub"\n'
    for stage in ("test", "staging"):
        text += f'[stage.{stage}]\nrepository = "{served.host}/shop/{stage}"\n{GATE if stage == "staging" else ""}'
    signer = keys.generate(keys.ED25519)
    one, two = (Machine(tmp_path / name, text, signer, monkeypatch) for name in ("one", "two"))
    return one, two


def test_issue10_3_a_builder_s_evidence_counts_on_another_host(tested_machines: tuple[Machine, Machine]):
    one, two = tested_machines
    shop = one.use()
    made = shop.release(1)
    _keep(shop, made)
    one.promote("test", made.id)
    assert two.use().why("staging")["tests"].verdict == PENDING, "the host's own key counts there alone"
    _keep(one.use(), made, by=NamedSigner("ci", one._signer))
    assert two.use().why("staging")["tests"].verdict == PASS
    assert two.promote("staging").changed


def test_issue10_3_evidence_by_other_signers_or_about_another_image_does_not_count(
    tested_machines: tuple[Machine, Machine],
):
    one, _ = tested_machines
    shop = one.use()
    made, other = shop.release(1), shop.release(2)
    one.promote("test", made.id)
    _keep(shop, made)
    (entry,) = [entry for entry in shop.entries() if entry.kind == TESTED]
    run, paths = entry.body["run"], shop.opened.paths
    verify.attach_statement(other.image, statements.TESTS, run, keys.generate(keys.P256), name="shop", paths=paths)
    moved = {**run, "digest": other.image}
    verify.attach_statement(made.image, statements.TESTS, codec.dump(moved), one._signer, name="shop", paths=paths)
    verify.attach_statement(other.image, statements.TESTS, run, one._signer, name="shop", paths=paths)
    one.promote("test", other.id)
    assert shop.why("staging", other)["tests"].verdict == PENDING
