"""Admission: stage order, revocations and rollbacks."""

from __future__ import annotations

from dataclasses import replace

from support.histories import chained, release, stages

from devbox.model.ledger import APPLIED, COPIED, FAILED, INTENT, REVOKED, RUNNING
from devbox.model.plan import FAIL, PASS, PENDING
from devbox.promotion.admission import admit
from devbox.promotion.history import History

ONE, TWO = release(1), release(2)
STAGES = stages(test=(), staging=(), production=())


def _row(kind, of=ONE, stage="test", **more):
    return {"kind": kind, "stage": stage, "release": of.id, **more}


def _verdicts(of, stage, *rows):
    return [verdict.verdict for verdict in admit(of, STAGES[stage], STAGES, History(chained(*rows)))]


def test_the_first_stage_takes_every_release():
    assert _verdicts(ONE, "test") == []


def test_a_skipped_stage_is_a_denial():
    assert _verdicts(ONE, "production", _row(APPLIED)) == [PENDING]


def test_what_passed_the_stage_before_may_go_on_also_when_it_was_replaced_there():
    assert _verdicts(ONE, "staging", _row(APPLIED), _row(APPLIED, TWO)) == [PASS]


def test_what_is_only_on_its_way_has_not_passed():
    assert _verdicts(ONE, "staging", _row(INTENT), _row(COPIED), _row(RUNNING)) == [PENDING]
    assert _verdicts(ONE, "staging", _row(INTENT), _row(FAILED)) == [PENDING]


def test_a_rolled_back_release_may_not_be_promoted_until_it_passes_again():
    back = (_row(APPLIED, TWO), _row(APPLIED), _row(APPLIED, TWO, body={"operation": "rollback"}))
    assert _verdicts(ONE, "staging", *back) == [FAIL]
    assert _verdicts(TWO, "staging", *back) == [PASS]
    assert _verdicts(ONE, "staging", *back, _row(APPLIED, attempt=2)) == [PASS]


def test_a_revoked_release_is_not_promoted():
    assert _verdicts(ONE, "test", _row(REVOKED, stage="", body={"reason": "CVE"})) == [FAIL]
    assert _verdicts(ONE, "staging", _row(APPLIED), _row(REVOKED, stage="")) == [FAIL, PASS]
    assert _verdicts(TWO, "test", _row(REVOKED, stage="")) == []


def test_issue10_a_stage_before_that_publishes_nothing_is_named():
    shared = replace(STAGES["production"], repository="registry.example/shop")
    (told,) = admit(ONE, shared, {**STAGES, "production": shared}, History(()))
    assert "as far as the host knows: [stage.staging] has no repository" in told.reason
    (told,) = admit(ONE, STAGES["production"], STAGES, History(()))
    assert "as far as the host knows" not in told.reason
