"""Losses as clients saw them, next to the losses that the stage counted."""

from __future__ import annotations

from collections import Counter

from support.load import Load
from support.long import CUT, Long

from devbox.model.stage import Counts

NO_SERVER, LATE, BAD, BROKEN, NOTHING = "503", "504", "502", "truncated", "no answer"


def seen(load: Load, lasting: Long) -> Counter[str]:
    """Requests without a complete answer of the application. A connection that lasted and broke off is truncated."""
    found = Counter(_seen(text) for text in load.failed)
    for status, count in lasting.answers.items():
        found[status or NOTHING] += count
    found[BROKEN] += lasting.count(CUT)
    return +found


def _seen(text: str) -> str:
    said = text.rpartition(": ")[2]
    if said.isdigit():
        return said
    return BROKEN if "truncated" in text else NOTHING


def compare(clients: Counter[str], counted: Counts | None) -> int:
    """Return the losses that the stage did not count: 0 without a kill, else at most the reported bound.

    AssertionError where that is not so, for one cause or for all together.
    """
    assert counted is not None
    lost = counted.lost
    more = {
        NO_SERVER: clients[NO_SERVER] - lost["router"] - lost["refused"],
        LATE: clients[LATE] - lost["timeout"],
        BROKEN: clients[BAD] + clients[BROKEN] + clients[NOTHING] - lost["cut"] - lost["truncated"],
    }
    said = f"clients: {dict(clients)}; counted: {lost}, at most {counted.unknown} more"
    assert all(count >= 0 for count in more.values()), said
    assert sum(more.values()) <= counted.unknown, said
    return sum(more.values())
