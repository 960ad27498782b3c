"""How recently the chains of a stage were confirmed, and what a machine may confirm itself. Pure.

A machine that reads a stage for the first time cannot see that newer records were removed. So it believes no chain
whose last confirmation is older than `LIMIT`; see docs/adr/0077-fresh-history.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import replace

from devbox.attest.stagechain import StageDocument
from devbox.records.confirmed import NEW, Reading

LIMIT = dt.timedelta(days=7)
AGAIN = dt.timedelta(days=1)  # after which a machine signs its chain again, whatever it does
_AHEAD = dt.timedelta(hours=1)  # of the reader's clock: what was signed later is not believed
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def after(
    reading: Reading,
    others: Collection[StageDocument],
    *,
    now: dt.datetime,
    is_whole: bool = True,
    accepted: bool = False,
) -> Reading:
    """The same when what other machines published is believed; if nothing is missing (`is_whole`), it can be confirmed.

    `accepted`: by the user. What a new machine believed is confirmed as of when others confirmed it.
    """
    chains = [each for each in others if each.records]
    time = now.isoformat(timespec="seconds")
    if not is_whole:
        joined = "" if accepted else time if reading.joined == NEW and chains else reading.joined
        return replace(reading, joined=joined)
    if accepted or not reading.joined:
        return Reading(confirmed=time, joined="")
    if not chains:
        return replace(reading, confirmed=time)
    oldest = min(_confirmed(each, others, now) or _NEVER for each in chains)
    if reading.joined == NEW:
        return Reading(confirmed=_text(oldest), joined=time)
    if oldest > _time(reading.joined):
        return Reading(confirmed=time, joined="")
    return replace(reading, confirmed=_text(max(_time(reading.confirmed), oldest)))


def doubt(reading: Reading, others: Collection[StageDocument], *, now: dt.datetime) -> str:
    """Why a machine does not believe what it reads for the first time; "" if it does, or has read the stage before."""
    if reading.joined != NEW:
        return ""
    found = {each.writer: _confirmed(each, others, now) for each in others if each.records}
    stale = {writer: time for writer, time in found.items() if time is None or now - time > LIMIT}
    if not stale:
        return ""
    writer, time = min(stale.items(), key=lambda item: item[1] or _NEVER)
    last = f"were last confirmed on {time:%Y-%m-%d}" if time else "were never confirmed"
    return (
        f"the records of {writer} {last}, and this machine reads them for the first time, so newer ones may have been "
        "removed; devbox release refresh confirms them on a machine that knows them"
    )


def is_due(own: StageDocument | None, *, now: dt.datetime) -> bool:
    """True if what this machine published was signed so long ago that it should sign again."""
    time = _time(own.signed) if own else _NEVER
    return not now - AGAIN < time <= now + _AHEAD


def _confirmed(document: StageDocument, all_of_them: Collection[StageDocument], now: dt.datetime) -> dt.datetime | None:
    """When a chain was last known to be whole: by its own machine, or by one that knows as many records of it."""
    number = document.records[-1].number
    others = (each.confirmed for each in all_of_them if each.knows.get(document.writer) == number)
    times = (_time(text) for text in (document.signed, *others))
    return max((time for time in times if _NEVER < time <= now + _AHEAD), default=None)


def _text(time: dt.datetime) -> str:
    return "" if time == _NEVER else time.isoformat(timespec="seconds")


def _time(text: str) -> dt.datetime:
    """A time that was checked when its document was read; `_NEVER` for ""."""
    return dt.datetime.fromisoformat(text) if text else _NEVER
