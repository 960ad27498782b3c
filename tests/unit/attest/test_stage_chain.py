"""The signed chain of a stage: what another host accepts of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.histories import chained, release

from devbox.attest import envelopes, keys, stage_chain, statements
from devbox.attest.stage_chain import StageDocument
from devbox.errors import SigningError
from devbox.model.ledger import APPLIED, REVOKED, SEEN
from devbox.promotion import stage_records

CI, EVE = keys.generate(keys.ED25519), keys.generate(keys.ED25519)
KNOWN = {CI.public.fingerprint: CI.public}
ONE, TWO = release(1), release(2)


def _document(**facts):
    rows = [
        {"kind": APPLIED, "stage": "staging", "release": ONE.id, "body": {"clock": 1, "operation": "promote"}},
        {"kind": APPLIED, "stage": "test", "release": ONE.id, "body": {"clock": 2, "operation": "promote"}},
        {"kind": SEEN, "stage": "staging", "release": TWO.id, "body": {"clock": 3, "at": "x", "seen": {"number": 1}}},
        {"kind": REVOKED, "release": TWO.id, "body": {"clock": 4, "reason": "bad"}},
        {"kind": APPLIED, "stage": "staging", "release": TWO.id, "body": {"operation": "rollback", "left": ONE.id}},
    ]
    records = stage_records.list_own_records(chained(*rows), "staging")
    known = {"stage": "staging", "repository": "shop/staging", "writer": "0" * 12, "records": records}
    return StageDocument(**{**known, **facts})


def _read(raw):
    return stage_chain.verify(raw, KNOWN, stage="staging", repository="shop/staging")


def test_this_host_s_own_events_are_restored_in_order():
    document = _document(knows={"1" * 12: 3})
    found = _read(stage_chain.sign(document, CI, name="shop"))
    assert found == replace(document, by=CI.public.fingerprint)
    assert [(each.number, each.clock, each.kind) for each in found.records] == [
        (1, 1, APPLIED),
        (2, 4, REVOKED),
        (3, 5, APPLIED),  # an earlier version gave it no clock
    ]
    assert found.records[-1].left == ONE.id


def test_issue10_1_what_another_key_signed_or_is_about_another_stage_is_not_believed():
    document = _document()
    with pytest.raises(SigningError, match="not signed by a key"):
        _read(stage_chain.sign(document, EVE, name="shop"))
    for facts in ({"stage": "production"}, {"repository": "shop/other"}):
        with pytest.raises(SigningError, match="written for"):
            _read(stage_chain.sign(replace(document, **facts), CI, name="shop"))


@pytest.mark.parametrize("how", ["left out", "swapped", "changed", "clock", "beginning"])
def test_issue10_1_records_that_do_not_follow_on_each_other_are_not_believed(how):
    one, two, three = _document().records
    records = {
        "left out": (one, three),
        "swapped": (one, three, two),
        "changed": (replace(one, release=TWO.id), two, three),
        "clock": (one, replace(two, clock=1)),
        "beginning": (replace(one, previous=two.hash),),
    }[how]
    with pytest.raises(SigningError, match="do not form a chain"):
        _read(stage_chain.sign(replace(_document(), records=records), CI, name="shop"))


def test_issue10_1_a_statement_about_something_else_is_not_believed():
    payload = statements.write_statement("sha256:" + "0" * 64, statements.LEDGER_HEAD, {"format": 1}, name="shop")
    with pytest.raises(SigningError, match="unsupported kind"):
        _read(envelopes.write_bundle(envelopes.sign_payload(payload, CI), key=CI.public))
    for raw in (b"", b"{}", b"\xff"):
        with pytest.raises(SigningError):
            _read(raw)


def test_a_long_chain_is_published_with_its_newest_records(monkeypatch):
    monkeypatch.setattr(stage_records, "MOST", 2)
    document = _document()
    assert [each.number for each in document.records] == [2, 3]
    assert _read(stage_chain.sign(document, CI, name="shop")).records == document.records


@pytest.mark.parametrize("at", ["", "yesterday", "2026-01-01T00:00:00"])
def test_issue10_1_an_invalid_time_is_rejected(at: str):
    """It was entered into the ledger, and every command that reads it failed from then on."""
    record = replace(_document().records[0], at=at)
    with pytest.raises(SigningError, match="do not form a chain"):
        _read(stage_chain.sign(_document(records=(record,)), CI, name="shop"))


@pytest.mark.parametrize(
    "facts",
    [
        {"knows": {"1" * 12: "3"}},
        {"knows": {"1" * 12: -1}},
        {"observed": {ONE.id: "9"}},
        {"observed": {ONE.id: 10**400}},
    ],
    ids=["text", "negative", "observed", "without end"],
)
def test_issue10_1_counts_that_are_no_numbers_are_not_believed(facts):
    with pytest.raises(SigningError, match=r"expected (a number|int, got str|float, got)"):
        _read(stage_chain.sign(_document(**facts), CI, name="shop"))


def test_issue10_1_an_overflowing_clock_is_rejected():
    record = replace(_document().records[0], clock=10**4000)
    with pytest.raises(SigningError, match="a number out of range"):
        _read(stage_chain.sign(_document(records=(record,)), CI, name="shop"))
