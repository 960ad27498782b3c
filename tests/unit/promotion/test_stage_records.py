"""Which stage chains a host accepts at first reading, and which it confirms itself."""

from __future__ import annotations

import datetime as dt

import pytest

from devbox.attest.stage_chain import StageDocument, StageRecord
from devbox.promotion import stage_records
from devbox.records.observations import NEW, StageConfirmation

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
A, B, C = (digit * 12 for digit in "abc")


def days_ago(number: float) -> str:
    return (NOW - dt.timedelta(days=number)).isoformat(timespec="seconds")


def chain(writer: str, number: int, signed: float, *, confirmed: float | None = None, **knows: int) -> StageDocument:
    """Records that a host published this many days ago; `confirmed`: days since; `knows`: stages by first letter."""
    record = StageRecord(number=number, clock=number, kind="applied", at=days_ago(signed), release="sha256:1")
    return StageDocument(
        stage="staging",
        repository="shop/staging",
        writer=writer,
        records=(record,) if number else (),
        knows={letter * 12: count for letter, count in knows.items()},
        signed=days_ago(signed),
        confirmed="" if confirmed is None else days_ago(confirmed),
    )


BELIEVED = {
    "nothing is there": [],
    "signed of late": [chain(A, 5, 6.9)],
    "an old one that another machine knows": [chain(A, 5, 90), chain(B, 2, 1, confirmed=1, a=5)],
    "an old one that a machine knows which did nothing": [chain(A, 5, 90), chain(B, 0, 1, confirmed=1, a=5)],
    "a clock that is a little ahead": [chain(A, 5, -0.04)],
}
DOUBTED = {
    "an older one that was put back": [chain(A, 5, 7.1)],
    "of an earlier version": [StageDocument(**{**vars(chain(A, 5, 1)), "signed": ""})],
    "signed in the future": [chain(A, 5, -3)],
    "one of two is old": [chain(A, 5, 8), chain(B, 2, 1)],
    "another machine knew fewer": [chain(A, 5, 8), chain(B, 2, 1, confirmed=1, a=4)],
    "another machine confirmed long ago": [chain(A, 5, 8), chain(B, 2, 1, confirmed=7.5, a=5)],
    "another machine confirmed in the future": [chain(A, 5, 8), chain(B, 2, 1, confirmed=-3, a=5)],
    "another machine never confirmed": [chain(A, 5, 8), chain(B, 2, 1, a=5)],
}


@pytest.mark.parametrize("others", BELIEVED.values(), ids=BELIEVED)
def test_a_new_host_accepts_a_recently_confirmed_chain(others: list[StageDocument]):
    assert stage_records.find_doubt(StageConfirmation(), others, now=NOW) == ""


@pytest.mark.parametrize("others", DOUBTED.values(), ids=DOUBTED)
def test_issue10_1_a_new_host_accepts_no_chain_without_a_recent_confirmation(others: list[StageDocument]):
    said = stage_records.find_doubt(StageConfirmation(), others, now=NOW)
    assert A in said
    assert "reads them for the first time" in said
    assert stage_records.find_doubt(StageConfirmation(joined=days_ago(90)), others, now=NOW) == "", (
        "it knew the stage before"
    )
    assert stage_records.find_doubt(StageConfirmation(joined=""), others, now=NOW) == ""


def test_issue10_1_a_new_host_does_not_renew_confirmations():
    """Otherwise the next host would accept for another week what this one should not have accepted."""
    joined = stage_records.confirm_reading(StageConfirmation(), [chain(A, 5, 6)], now=NOW)
    assert joined == StageConfirmation(confirmed=days_ago(6), joined=days_ago(0))
    later = NOW + dt.timedelta(days=3)
    assert stage_records.confirm_reading(joined, [chain(A, 5, 6)], now=later) == joined
    own = StageDocument(**{**vars(chain(C, 1, -3, a=5)), "confirmed": joined.confirmed})
    assert stage_records.find_doubt(StageConfirmation(), [chain(A, 5, 6), own], now=later) != ""


def test_a_host_confirms_what_was_confirmed_after_it_joined():
    reading = StageConfirmation(confirmed=days_ago(6), joined=days_ago(3))
    assert stage_records.confirm_reading(reading, [chain(A, 6, 2)], now=NOW) == StageConfirmation(
        confirmed=days_ago(0), joined=""
    )
    partly = stage_records.confirm_reading(reading, [chain(A, 6, 2), chain(B, 1, 4)], now=NOW)
    assert partly == StageConfirmation(confirmed=days_ago(4), joined=days_ago(3)), "one of them was not"


def test_a_sole_host_or_one_whose_user_accepted_confirms_at_once():
    now = days_ago(0)
    assert stage_records.confirm_reading(StageConfirmation(), [], now=NOW) == StageConfirmation(
        confirmed=now, joined=NEW
    )
    assert stage_records.confirm_reading(StageConfirmation(), [chain(B, 0, 9)], now=NOW) == StageConfirmation(
        confirmed=now, joined=NEW
    )
    assert stage_records.confirm_reading(
        StageConfirmation(), [chain(A, 5, 90)], now=NOW, accepted=True
    ) == StageConfirmation(confirmed=now, joined="")
    assert stage_records.confirm_reading(StageConfirmation(joined=""), [chain(A, 5, 90)], now=NOW) == StageConfirmation(
        confirmed=now, joined=""
    )


def test_what_is_not_whole_is_not_confirmed():
    reading = stage_records.confirm_reading(StageConfirmation(), [chain(A, 5, 6)], now=NOW, is_whole=False)
    assert reading == StageConfirmation(confirmed="", joined=days_ago(0)), "it has joined"
    assert stage_records.confirm_reading(reading, [chain(A, 5, -1)], now=NOW, is_whole=False) == reading
    assert stage_records.confirm_reading(StageConfirmation(), [], now=NOW, is_whole=False) == StageConfirmation()


def test_a_host_that_found_nothing_is_still_new_when_it_finds_old_records():
    """An attacker with write access to the repository may hide them at first."""
    alone = stage_records.confirm_reading(StageConfirmation(), [], now=NOW)
    assert stage_records.find_doubt(alone, [chain(A, 5, 8)], now=NOW) != ""


def test_a_chain_is_signed_again_after_a_day():
    assert stage_records.is_due(None, now=NOW)
    due = [stage_records.is_due(chain(A, 1, days), now=NOW) for days in (0.9, 1.1, -0.01, -3)]
    assert due == [False, True, False, True]
