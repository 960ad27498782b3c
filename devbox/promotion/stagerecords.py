"""Between the ledger and the signed records of stages. Pure.

A ledger's own entries become the records that this machine publishes; records of other machines become entries that
say so in `body["seen"]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devbox.attest.stagechain import MOST, StageRecord
from devbox.model.entry import APPLIED, GENESIS, REVOKED, SEEN, Entry
from devbox.promotion.history import OWN, clock, clocks

_DIGITS = 12


def writer_of(entries: Sequence[Entry]) -> str:
    """The name of this machine's ledger among others: digits of its first entry's hash; "" while it is empty."""
    return entries[0].hash.removeprefix("sha256:")[:_DIGITS] if entries else ""


def next_clock(entries: Iterable[Entry]) -> int:
    """The clock of something done now: after everything that is known."""
    return 1 + max((0, *(clock(entry) for entry in entries)))


def seen(entry: Entry) -> Mapping[str, Any] | None:
    """From which record of which machine an entry was learned; None for what was done here."""
    found = entry.body.get("seen")
    return found if isinstance(found, Mapping) else None


def own_records(entries: Iterable[Entry], stage: str) -> tuple[StageRecord, ...]:
    """What this machine has to say about a stage, the newest records of it; always the same for the same ledger."""
    entries = tuple(entries)
    published = clocks(entries, stage)
    found: list[StageRecord] = []
    previous = GENESIS
    for entry in entries:
        if entry.seq in published:
            record = _record(entry, number=len(found) + 1, clock=published[entry.seq], previous=previous)
            previous = record.hash
            found.append(record)
    return tuple(found[-MOST:])


def known_of(entries: Iterable[Entry], stage: str) -> dict[str, tuple[int, str]]:
    """The newest record of each other machine about a stage that the ledger has: its number and hash."""
    found: dict[str, tuple[int, str]] = {}
    for entry in entries:
        origin = seen(entry)
        if origin and origin.get("stage") == stage and int(origin["number"]) > found.get(origin["writer"], (0, ""))[0]:
            found[str(origin["writer"])] = (int(origin["number"]), str(origin["record"]))
    return found


def entry_of(record: StageRecord, *, stage: str, writer: str, by: str) -> dict[str, Any] | None:
    """The arguments of `Ledger.append` for a record of another machine; None for a kind of a later version."""
    if record.kind not in OWN:
        return None
    kind = SEEN if record.kind == APPLIED else record.kind
    origin = {"stage": stage, "writer": writer, "number": record.number, "record": record.hash}
    evidence = record.hash if kind == SEEN else record.evidence
    body: dict[str, Any] = {"at": record.at, "by": by, "clock": record.clock, "seen": origin, "evidence": evidence}
    body |= {"image": record.image, "left": record.left, "operation": record.operation, "reason": record.reason}
    return {"kind": kind, "release": record.release, "stage": "" if kind == REVOKED else stage, "body": body}


def _record(entry: Entry, *, number: int, clock: int, previous: str) -> StageRecord:
    body = entry.body
    return StageRecord(
        number=number,
        clock=clock,
        kind=entry.kind,
        at=entry.at,
        release=entry.release,
        image=str(body.get("digest") or body.get("image") or ""),
        left=str(body.get("left") or ""),
        operation=str(body.get("operation") or ""),
        evidence=str(body.get("evidence") or body.get("record") or ""),
        reason=str(body.get("reason") or "")[:200],
        previous=previous,
    )
