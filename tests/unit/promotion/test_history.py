"""The history of stages and releases, from a ledger."""

from __future__ import annotations

import pytest
from support.histories import chained, release

from devbox.model.ledger import APPLIED, COPIED, FAILED, INTENT, REVOKED, RUNNING, SEEN
from devbox.promotion.history import History, compute_states, find_time

ONE, TWO, THREE = release(1), release(2), release(3)


def _row(kind, of, stage="test", **more):
    return {"kind": kind, "stage": stage, "release": of.id, **more}


def _applied(of, **body):
    return _row(APPLIED, of, body={"config": "sha256:c", **body})


def _history(*rows):
    return History(chained(*rows))


def _before(*rows):
    found = _history(*rows).find_previous("test")
    return found.release if found else None


def test_nothing_happened():
    empty = History(())
    assert (empty.find_current("test"), empty.find_pending("test"), empty.find_previous("test")) == (None, None, None)
    assert (empty.count_attempts("test", ONE.id), empty.find_revocation(ONE.id), compute_states(empty)) == (0, None, {})


@pytest.mark.parametrize("kind", [INTENT, COPIED, RUNNING])
def test_an_attempt_is_under_way_until_it_ends(kind):
    begun = [_row(step, ONE) for step in (INTENT, COPIED, RUNNING)[: (INTENT, COPIED, RUNNING).index(kind) + 1]]
    assert _history(*begun).find_pending("test").kind == kind
    assert _history(*begun).find_pending("staging") is None
    assert _history(*begun, _row(FAILED, ONE)).find_pending("test") is None
    assert _history(*begun, _row(APPLIED, ONE)).find_pending("test") is None


def test_what_people_say_of_a_release_ends_no_attempt():
    assert _history(_row(INTENT, ONE), _row(REVOKED, TWO)).find_pending("test") is not None


def test_the_intent_of_a_step_is_that_of_its_own_attempt():
    rows = (_row(INTENT, ONE), _row(FAILED, ONE), _row(INTENT, ONE, attempt=2), _row(COPIED, ONE, attempt=2))
    history = _history(*rows)
    assert history.find_intent(history.entries[3]).seq == 3
    assert history.find_intent(history.entries[1]).seq == 1
    assert history.count_attempts("test", ONE.id) == 2


def test_before_is_what_ran_before_what_runs():
    assert _before(_applied(ONE)) is None
    assert _before(_applied(ONE), _applied(TWO)) == ONE.id


def test_before_leaves_out_repairs_of_the_same():
    assert _before(_applied(ONE), _applied(TWO), _applied(TWO)) == ONE.id


def test_before_knows_another_config_of_the_same_release():
    assert _before(_applied(ONE), _applied(ONE, config="sha256:d")) == ONE.id


def test_before_a_rollback_is_what_was_before_what_it_went_back_to():
    rows = (_applied(ONE), _applied(TWO), _applied(THREE), _applied(TWO, back_to=2))
    assert _before(*rows) == ONE.id
    assert _before(*rows, _applied(ONE, back_to=1)) is None
    assert _before(*rows, _applied(THREE)) == TWO.id


def test_before_is_never_what_was_revoked():
    assert _before(_applied(ONE), _applied(TWO), _applied(THREE), _row(REVOKED, TWO)) == ONE.id


def test_states_say_what_became_of_each_release():
    rows = [
        *(_row(INTENT, ONE), _applied(ONE), _row(INTENT, TWO), _applied(TWO)),
        *(_row(INTENT, THREE), _row(FAILED, THREE), _row(INTENT, ONE, "staging"), _row(COPIED, ONE, "staging")),
    ]
    assert compute_states(_history(*rows)) == {
        ONE.id: {"test": "passed", "staging": "moving"},
        TWO.id: {"test": "running"},
        THREE.id: {"test": "failed"},
    }
    back = _applied(ONE, back_to=2, operation="rollback")
    assert compute_states(_history(*rows[:4], back)) == {ONE.id: {"test": "running"}, TWO.id: {"test": "rolled-back"}}


def test_a_release_seen_on_another_host_has_passed_but_is_not_a_rollback_target():
    seen = _row(SEEN, TWO, body={"at": "2026-11-01T00:00:00Z", "operation": "promote", "clock": 1})
    history = _history(_applied(ONE), seen)
    assert history.find_latest("test").release == TWO.id
    assert history.find_current("test").release == ONE.id
    assert [find_time(entry) for entry in history.list_passes("test", TWO.id)] == ["2026-11-01T00:00:00Z"]
    assert history.find_previous("test") is None
    assert compute_states(history) == {ONE.id: {"test": "running"}, TWO.id: {"test": "passed"}}


def test_issue10_1_what_was_seen_is_in_the_order_in_which_it_happened():
    """By the clocks of the signed chain, not by arrival and not by a host clock that is three days ahead."""
    ahead, behind = "2026-11-28T00:00:00Z", "2026-11-01T00:00:00Z"
    rows = [
        _row(SEEN, THREE, body={"at": ahead, "operation": "promote", "clock": 3, "left": TWO.id}),
        _row(SEEN, ONE, body={"at": ahead, "operation": "promote", "clock": 1, "left": ""}),
        _row(SEEN, TWO, body={"at": behind, "operation": "promote", "clock": 2, "left": ONE.id}),
    ]
    history = _history(*rows)
    assert [entry.release for entry in history.list_arrivals("test")] == [ONE.id, TWO.id, THREE.id]
    assert history.find_latest("test").release == THREE.id
    back = _row(SEEN, TWO, body={"at": behind, "operation": "rollback", "clock": 4, "left": THREE.id})
    history = _history(*rows, back)
    assert history.find_rollback("test", THREE.id) is not None
    assert history.find_rollback("test", TWO.id) is None
    again = _row(SEEN, THREE, body={"at": behind, "operation": "promote", "clock": 5, "left": TWO.id})
    assert _history(*rows, back, again).find_rollback("test", THREE.id) is None


def test_issue10_1_a_rollback_names_what_it_left_also_behind_another_release():
    rows = [
        _row(SEEN, ONE, body={"at": "2026-11-01T00:00:00Z", "operation": "promote", "clock": 1, "left": ""}),
        _row(SEEN, TWO, body={"at": "2026-11-02T00:00:00Z", "operation": "promote", "clock": 2, "left": ""}),
        _row(SEEN, THREE, body={"at": "2026-11-03T00:00:00Z", "operation": "rollback", "clock": 3, "left": ONE.id}),
    ]
    assert _history(*rows).find_rollback("test", ONE.id) is not None
    assert _history(*rows).find_rollback("test", TWO.id) is None


def test_a_failed_repair_of_what_runs_is_still_what_should_run():
    rows = (_applied(ONE), _row(INTENT, ONE, attempt=2), _row(FAILED, ONE, attempt=2))
    assert compute_states(_history(*rows)) == {ONE.id: {"test": "running"}}
