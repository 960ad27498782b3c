"""Stored payloads of each ledger kind, and payloads from other versions and hosts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from devbox.model import codec
from devbox.model.ledger import APPLIED, GENESIS, LedgerEntry
from devbox.model.ledger_payloads import (
    AppliedPayload,
    ApprovedPayload,
    CopiedPayload,
    DownPayload,
    DriftedPayload,
    FailedPayload,
    GrayPayload,
    IntentPayload,
    LearnedPayload,
    LearnedTestsPayload,
    LedgerPayload,
    LostRequests,
    RebuiltPayload,
    RevokedPayload,
    RunningPayload,
    TestedPayload,
    read_shared,
)
from devbox.model.stage import Counts

_INTENT = {
    "operation": "promote",
    "deployment": {"release": {}, "stage": {}},
    "config": "sha256:c",
    "policy": "sha256:p",
    "gates": [{"subject": "tests", "verdict": "pass", "reason": "", "evidence": "", "expires_at": ""}],
    "from": {"release": "sha256:1", "seq": 4},
    "back_to": None,
    "repairs": False,
    "counts": {"router": "r", "lost": {"killed": 0}, "unknown": 0},
}
_LOST = {"lost_requests": 2, "lost_by_cause": {"killed": 2}, "lost_unknown": 0}
_APPLIED = {
    "operation": "rollback",
    "config": "sha256:c",
    "back_to": 3,
    "left": "",
    "clock": 7,
    "intent": 5,
    "digest": "sha256:i",
    **_LOST,
}
_SEEN = {
    "at": "2026-11-01T00:00:00Z",
    "by": "ci",
    "clock": 3,
    "seen": {"stage": "staging", "writer": "123456789012", "number": 1, "record": "sha256:r"},
    "evidence": "sha256:r",
    "image": "sha256:i",
    "left": "",
    "operation": "promote",
    "reason": "",
}
_TESTED = {"run": {"digest": "sha256:i", "passed": False}, "evidence": ""}
_GRAY = {
    "phase": "ramp",
    "step": 1,
    "held": False,
    "reason": "",
    "threshold": 0,
    "canary": {"requests": 9, "errors": 1},
    "stable": {"requests": 90, "errors": 1},
    "evidence": {"errors": 0.125},
    "lost": None,
    "lost_by_cause": None,
    "lost_unknown": None,
}
_APPROVED = {
    "release": "sha256:1",
    "stage": "staging",
    "policy": "sha256:p",
    "approver": "ann",
    "issued": "",
    "expires": "",
    "comment": "",
    "deployment": "sha256:d",
    "parts": {"image": "sha256:i"},
    "evidence": "",
    "image": "",
    "clock": 1,
}
_REVOKED = {"by": "ci", "reason": "bad", "evidence": "sha256:e", "image": "sha256:i", "clock": 4}

# Kind of payload, and bodies as written.
BODIES: list[tuple[type[LedgerPayload], dict[str, Any]]] = [
    (IntentPayload, _INTENT),
    (IntentPayload, {**_INTENT, "from": None, "back_to": 3, "counts": None}),
    (IntentPayload, {key: value for key, value in _INTENT.items() if key != "counts"}),
    (CopiedPayload, {"digest": "sha256:i", "repository": "r/shop", "sent": 10}),
    (RunningPayload, {"digests": {"web-1": "sha256:i"}, "address": "http://localhost:80", **_LOST}),
    (RunningPayload, {"digests": {}, "address": "", **dict.fromkeys(_LOST)}),
    (AppliedPayload, _APPLIED),
    (AppliedPayload, {**_APPLIED, "record": "sha256:r", "signed_by": "ci"}),
    (FailedPayload, {"reason": "no", "runs": "sha256:1"}),
    (FailedPayload, {"reason": "no", "runs": "", "restored": False}),
    (ApprovedPayload, _APPROVED),
    (RevokedPayload, _REVOKED),
    (DownPayload, {"operation": "down", "image": "", "clock": 9}),
    (DriftedPayload, {"container": "web-1", "since": "", "reason": "web-1 runs another image"}),
    (RebuiltPayload, {"reason": "devbox release rebuild"}),
    (LearnedPayload, _SEEN),
    (TestedPayload, _TESTED),
    (LearnedTestsPayload, {**_TESTED, "seen": {"image": "sha256:i"}, "key": "sha256:k", "by": "ci"}),
    (GrayPayload, _GRAY),
    (GrayPayload, {**_GRAY, "baseline": {"requests": 1, "errors": 0}}),
]
HOSTILE = (None, 0, True, 1.5, "x", [], [1], [{}], {}, {"a": 1}, {"release": [], "number": {}, "lost": 3})


def _entry(body: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        seq=1, at="then", kind=APPLIED, release="", stage="", attempt=0, body=body, previous=GENESIS, hash=""
    )


@pytest.mark.parametrize(("cls", "body"), BODIES)
def test_a_payload_writes_the_keys_that_it_was_read_from(cls: type[LedgerPayload], body: dict[str, Any]):
    assert cls.parse(body).to_body() == body
    assert cls.parse({**body, "added by a newer version": 1}).to_body() == body


@pytest.mark.parametrize("cls", dict.fromkeys(cls for cls, _ in BODIES))
@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_no_value_of_another_type_is_an_error(cls: type[LedgerPayload], value: object):
    keys = [cls.keys.get(each.name, each.name) for each in dataclasses.fields(cls)]  # type: ignore[arg-type]
    payload = cls.parse(dict.fromkeys(keys, value))
    payload.to_body()
    if isinstance(payload, IntentPayload):
        assert payload.load_deployment() is None
        payload.load_gates()
    assert cls.parse({}) == cls.parse({})


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_no_shared_field_of_another_type_is_an_error(value: object):
    keys = ("at", "operation", "config", "image", "left", "reason", "evidence", "record", "clock", "seen")
    read_shared(_entry(dict.fromkeys(keys, value)))


def test_shared_fields_are_read_from_every_kind():
    applied, seen = read_shared(_entry(_APPLIED)), read_shared(_entry(_SEEN))
    assert (applied.image, applied.left, applied.clock, applied.is_learned) == ("sha256:i", "", 7, False)
    assert (seen.image, seen.is_learned, codec.dump(seen.origin)) == ("sha256:i", True, _SEEN["seen"])
    assert read_shared(_entry({})).left is None


def test_an_intent_of_a_version_that_did_not_count_is_not_one_without_a_router():
    assert IntentPayload.parse({**_INTENT, "counts": None}).knows_counts
    assert not IntentPayload.parse({}).knows_counts
    assert IntentPayload.parse(_INTENT).counts == Counts(router="r", lost={"killed": 0})


def test_lost_requests_leave_out_causes_without_any():
    counts = Counts(router="r", lost={"killed": 2, "cut": 0}, unknown=1)
    assert LostRequests.from_counts(counts).to_body() == {**_LOST, "lost_unknown": 1}
    assert LostRequests.from_counts(None) == LostRequests()
