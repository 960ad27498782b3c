"""Conversion between the ledger and the signed records of stages. Pure.

A ledger's own entries become the records published by this host; records of other hosts become entries with
their origin.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from devbox.attest.stage_chain import MOST, StageDocument, StageRecord
from devbox.model.ledger import APPLIED, GENESIS, REVOKED, SEEN, LedgerEntry
from devbox.model.ledger_payloads import LearnedPayload, RecordOrigin, read_shared
from devbox.promotion.history import OWN, assign_clocks, read_clock
from devbox.records.observations import NEW, StageConfirmation

_DIGITS = 12


def name_writer(entries: Sequence[LedgerEntry]) -> str:
    """Return the name of this host's ledger: digits of its first entry's hash; "" if it is empty."""
    return entries[0].hash.removeprefix("sha256:")[:_DIGITS] if entries else ""


def compute_next_clock(entries: Iterable[LedgerEntry]) -> int:
    """Return the clock for a new event, later than all known ones."""
    return 1 + max((0, *(read_clock(entry) for entry in entries)))


def list_own_records(entries: Iterable[LedgerEntry], stage: str) -> tuple[StageRecord, ...]:
    """Return this host's newest records about a stage; deterministic for a ledger."""
    entries = tuple(entries)
    published = assign_clocks(entries, stage)
    found: list[StageRecord] = []
    previous = GENESIS
    for entry in entries:
        if entry.seq in published:
            record = _build_record(entry, number=len(found) + 1, clock=published[entry.seq], previous=previous)
            previous = record.hash
            found.append(record)
    return tuple(found[-MOST:])


def list_known_records(entries: Iterable[LedgerEntry], stage: str) -> dict[str, tuple[int, str]]:
    """Return number and hash of the newest known record about a stage, by other host."""
    found: dict[str, tuple[int, str]] = {}
    for entry in entries:
        origin = read_shared(entry).origin
        if origin and origin.stage == stage and origin.number > found.get(origin.writer, (0, ""))[0]:
            found[origin.writer] = (origin.number, origin.record)
    return found


def build_entry(record: StageRecord, *, stage: str, writer: str, by: str) -> dict[str, Any] | None:
    """Return the arguments of `Ledger.append` for another host's record; None for an unknown kind."""
    if record.kind not in OWN:
        return None
    kind = SEEN if record.kind == APPLIED else record.kind
    payload = LearnedPayload(
        at=record.at,
        by=by,
        clock=record.clock,
        origin=RecordOrigin(stage=stage, writer=writer, number=record.number, record=record.hash),
        evidence=record.hash if kind == SEEN else record.evidence,
        image=record.image,
        left=record.left,
        operation=record.operation,
        reason=record.reason,
    )
    about = "" if kind == REVOKED else stage
    return {"kind": kind, "release": record.release, "stage": about, "body": payload.to_body()}


def _build_record(entry: LedgerEntry, *, number: int, clock: int, previous: str) -> StageRecord:
    shared = read_shared(entry)
    return StageRecord(
        number=number,
        clock=clock,
        kind=entry.kind,
        at=entry.at,
        release=entry.release,
        image=shared.image,
        left=shared.left or "",
        operation=shared.operation,
        evidence=shared.evidence or shared.record,
        reason=shared.reason[:200],
        previous=previous,
    )


LIMIT = dt.timedelta(days=7)
AGAIN = dt.timedelta(days=1)  # after which a host signs its chain again
_AHEAD = dt.timedelta(hours=1)  # of the reader's clock: later signatures are not accepted
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def confirm_reading(
    reading: StageConfirmation,
    others: Collection[StageDocument],
    *,
    now: dt.datetime,
    is_whole: bool = True,
    accepted: bool = False,
) -> StageConfirmation:
    """Return the state after the records of other hosts are accepted; confirmed if complete (`is_whole`).

    `accepted`: by the user. A new host's reading is confirmed as of the other hosts' confirmations.
    """
    chains = [each for each in others if each.records]
    time = now.isoformat(timespec="seconds")
    if not is_whole:
        joined = "" if accepted else time if reading.joined == NEW and chains else reading.joined
        return replace(reading, joined=joined)
    if accepted or not reading.joined:
        return StageConfirmation(confirmed=time, joined="")
    if not chains:
        return replace(reading, confirmed=time)
    oldest = min(_find_confirmation(each, others, now) or _NEVER for each in chains)
    if reading.joined == NEW:
        return StageConfirmation(confirmed=_format_time(oldest), joined=time)
    if oldest > _parse_time(reading.joined):
        return StageConfirmation(confirmed=time, joined="")
    return replace(reading, confirmed=_format_time(max(_parse_time(reading.confirmed), oldest)))


def find_doubt(reading: StageConfirmation, others: Collection[StageDocument], *, now: dt.datetime) -> str:
    """Return why a host does not accept its first reading of a stage; "" if it does, or has read the stage before."""
    if reading.joined != NEW:
        return ""
    found = {each.writer: _find_confirmation(each, others, now) for each in others if each.records}
    stale = {writer: time for writer, time in found.items() if time is None or now - time > LIMIT}
    if not stale:
        return ""
    writer, time = min(stale.items(), key=lambda item: item[1] or _NEVER)
    last = f"were last confirmed on {time:%Y-%m-%d}" if time else "were never confirmed"
    return (
        f"the records of {writer} {last}, and this host reads them for the first time, so newer ones may have been "
        "removed; confirm them on a host that knows them: devbox release refresh"
    )


def is_due(own: StageDocument | None, *, now: dt.datetime) -> bool:
    """True if this host's records should be signed again because of their age."""
    time = _parse_time(own.signed) if own else _NEVER
    return not now - AGAIN < time <= now + _AHEAD


def _find_confirmation(
    document: StageDocument, all_of_them: Collection[StageDocument], now: dt.datetime
) -> dt.datetime | None:
    """Return when a chain was last confirmed, by its own host or one that knows as many of its records."""
    number = document.records[-1].number
    others = (each.confirmed for each in all_of_them if each.knows.get(document.writer) == number)
    times = (_parse_time(text) for text in (document.signed, *others))
    return max((time for time in times if _NEVER < time <= now + _AHEAD), default=None)


def _format_time(time: dt.datetime) -> str:
    return "" if time == _NEVER else time.isoformat(timespec="seconds")


def _parse_time(text: str) -> dt.datetime:
    """Parse a time that was validated with its document; `_NEVER` for ""."""
    return dt.datetime.fromisoformat(text) if text else _NEVER
