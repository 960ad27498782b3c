"""Stage records that a host reads and publishes, also when devbox is killed halfway, and how they are reported."""

from __future__ import annotations

import pytest
from scenario.promotion.test_first_reader import Documents, refresh, roll_back
from scenario.promotion.test_machines import _staged, _unseen, machines, served

from devbox.commands import promotion_records, signing
from devbox.commands.stage_chains import StageChains
from devbox.errors import LedgerDamaged
from devbox.model.ledger import SEEN
from devbox.model.plan import FAIL
from devbox.project import prepare
from devbox.promotion import stage_records
from devbox.records.ledger import Ledger
from devbox.records.observations import NEW, ConfirmedRecord

__all__ = ["machines", "served"]


class _Killed(BaseException):
    """Substitute for SIGKILL: no handler of devbox catches it."""


def test_issue10_1_a_rollback_that_was_not_published_is_published_by_the_next_promotion(machines, monkeypatch):
    """Host 1 was killed before it could publish and promoted to another stage, which host 2 did not learn."""
    one, two = machines
    _staged(one, 1)
    bad = _staged(one, 2)
    with monkeypatch.context() as patch:
        patch.setattr(StageChains, "publish", _kill)
        with pytest.raises(_Killed):
            roll_back(one, "staging")
    one.promote("test", bad.id)
    assert "rolled back" in two.use().why("production", bad)["passed staging"].reason


def test_issue10_1_a_host_killed_during_its_first_read_is_still_a_new_one(machines, monkeypatch):
    """It had entered one record, counted as a host that knows the stage, and accepted a chain of last week."""
    one, two = machines
    _staged(one, 1)
    _staged(one, 2)
    opened = two.use().opened
    append = Ledger.append

    def once(self, kind, **facts):
        if self.read_head().seq == 1:
            raise _Killed
        return append(self, kind, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", once)
        with pytest.raises(_Killed):
            StageChains(opened, prepare(opened), _unseen).learn()
    assert len([entry for entry in two.shop.entries() if entry.kind == SEEN]) == 1
    documents = Documents(one, "test")
    documents.put_back(documents.aged(8))
    opened = two.use().opened
    assert "for the first time" in StageChains(opened, prepare(opened), _unseen).learn()["test"]


def test_issue10_1_a_killed_rebuild_leaves_a_new_host(machines, monkeypatch):
    one, two = machines
    _staged(one, 1)
    opened = two.use().opened
    assert two.shop.why("production")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "rebuild", _then_killed(Ledger.rebuild))
        with pytest.raises(_Killed):
            promotion_records.rebuild(opened, _unseen)
    known = ConfirmedRecord(opened.paths, opened.id).read().get("staging")
    assert known is None or known.joined == NEW


def test_issue10_1_a_host_confirms_a_chain_whose_newest_record_is_a_revocation(machines):
    """It is in the chain of each stage, was entered for the first one only, and the others were never confirmed."""
    one, two = machines
    made = _staged(one, 1)
    opened = one.use().opened
    signing.revoke(opened, prepare(opened), made.id, _unseen, reason="bad", key="ci", ask=None)
    assert refresh(two).lacking == {}
    writer = stage_records.name_writer(one.use().ledger.read_entries())
    for stage in ("test", "staging", "production"):
        found = Documents(two, stage).read()
        (mine,) = [each for each in found.values() if each.writer != writer]
        assert mine.knows[writer] == found[writer].records[-1].number, stage


def test_issue10_1_a_rollback_comes_after_what_other_hosts_did_before_it(machines):
    """Host 2 had promoted the same release; host 1 did not know, and its rollback was ordered before that."""
    one, two = machines
    _staged(one, 1)
    bad = _staged(one, 2)
    assert _staged(two, 2) == bad
    roll_back(one, "staging")
    for machine in machines:
        verdict = machine.use().why("production", bad)["passed staging"]
        assert (verdict.verdict, "rolled back" in verdict.reason) == (FAIL, True)


def test_issue10_1_a_rollback_does_not_wait_for_what_cannot_be_learned(machines, monkeypatch):
    one, _ = machines
    good = _staged(one, 1)
    _staged(one, 2)

    def damaged(*_words, **_named):
        raise LedgerDamaged("missing ledger entry", remedy="devbox release rebuild")

    monkeypatch.setattr(StageChains, "learn", damaged)
    roll_back(one, "staging")
    assert one.shop.runs("staging") == good.id
    assert one.shop.history().find_pending("staging") is None


def _kill(*_words, **_named):
    raise _Killed


def _then_killed(work):
    def done(*words):
        work(*words)
        raise _Killed

    return done
