"""Two hosts order the events of a stage alike, including those from earlier versions and from races."""

from __future__ import annotations

from support.histories import chained, release

from devbox.model.ledger import APPLIED, APPROVED
from devbox.promotion import stage_records
from devbox.promotion.history import History

ONE, TWO = release(1), release(2)


def _applied(of, at, *, operation="promote", left="", **body):
    facts = {"operation": operation, "left": left, "config": "sha256:c", **body}
    return {"kind": APPLIED, "stage": "staging", "release": of.id, "at": f"2026-11-{at}Z", "body": facts}


def _learned(rows, others, writer):
    """The history of a host with the own events `rows` that read another host's published `others`."""
    records = stage_records.list_own_records(chained(*others), "staging")
    made = [stage_records.build_entry(each, stage="staging", writer=writer, by="ci") for each in records]
    return History(chained(*rows, *({**each, "at": "2026-11-30T00:00:00Z"} for each in made)))


def _known(history):
    return [(entry.release, entry.body["operation"]) for entry in history.list_arrivals("staging")]


def test_issue10_1_what_an_earlier_version_entered_is_ordered_by_time_on_all_hosts():
    """Host 2 rolled back what host 1 had promoted. Both were upgraded, and host 2 promoted it to production."""
    one = [_applied(TWO, "01T00:00:00"), _applied(ONE, "02T00:00:00"), _applied(TWO, "03T00:00:00", left=ONE.id)]
    two = [_applied(ONE, "04T00:00:00", operation="rollback", left=TWO.id)]
    first, second = _learned(one, two, "2" * 12), _learned(two, one, "1" * 12)
    assert _known(first) == _known(second)
    for history in (first, second):
        assert history.find_latest("staging").release == ONE.id
        assert history.find_rollback("staging", TWO.id) is not None


def test_issue10_1_what_an_earlier_version_entered_comes_before_what_this_one_does():
    one = [_applied(TWO, "03T00:00:00")]
    two = [_applied(ONE, "02T00:00:00", operation="rollback", left=TWO.id, clock=stage_records.compute_next_clock(()))]
    first, second = _learned(one, two, "2" * 12), _learned(two, one, "1" * 12)
    assert _known(first) == _known(second) == [(TWO.id, "promote"), (ONE.id, "rollback")]


def test_issue10_1_a_clock_that_two_processes_took_at_once_counts_as_it_is_published():
    """An approval and a promotion took clock 7, so the promotion is published with 8; host 2 also has an event at 8."""
    approved = {"kind": APPROVED, "stage": "staging", "release": ONE.id, "body": {"clock": 7}}
    one = [approved, _applied(ONE, "03T00:00:00", clock=7)]
    two = [_applied(TWO, "02T00:00:00", clock=8)]
    first, second = _learned(one, two, "2" * 12), _learned(two, one, "1" * 12)
    assert _known(first) == _known(second)


def test_issue10_4_what_was_seen_before_a_rollback_counts_for_no_later_run():
    """Host 2 saw it healthy for days and rolled it back; host 1 promoted it again: its soak restarts."""
    two = [_applied(ONE, "01T00:00:00", clock=1), _applied(TWO, "01T01:00:00", clock=2)]
    back = [*two, _applied(ONE, "03T00:00:00", clock=3, operation="rollback", left=TWO.id)]
    again = _learned([_applied(TWO, "04T00:00:00", clock=4)], back, "2" * 12)
    assert again.is_run_valid("staging", TWO.id, "2" * 12) is False
    assert again.is_run_valid("staging", TWO.id) is True
    assert again.is_run_valid("staging", ONE.id, "2" * 12) is True
    second = _learned(back, [_applied(TWO, "04T00:00:00", clock=4)], "1" * 12)
    assert second.is_run_valid("staging", TWO.id) is False, "nor on the machine that rolled it back"
    assert second.is_run_valid("staging", TWO.id, "1" * 12) is True
    before = _learned([], two, "2" * 12)
    assert before.is_run_valid("staging", TWO.id, "2" * 12) is True
    assert before.is_run_valid("staging", TWO.id, "3" * 12) is False
