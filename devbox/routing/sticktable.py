"""Entries of one of HAProxy's stick tables, from its answer to `show table`.

Older releases of HAProxy, 3.0.11 among them, may make several entries for one string key if requests of it come at the
same time, as right after a restart: they compare the bytes behind the key's end as well. Fixed by HAProxy in October
2025, see https://github.com/haproxy/haproxy/issues/3161. All later requests find one of these entries.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import field

from devbox.frozen import dataclass

_ENTRY = re.compile(r"\bkey=(?P<key>\S+) (?P<data>.*)")
_DATA = re.compile(r"\b(gpc|gpt|conn_cur)(\d*)=(\d+)")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a table has of one key: general-purpose counters and tags by number, and open connections."""

    counts: Counter[int] = field(default_factory=Counter)
    tags: dict[int, int] = field(default_factory=dict)
    open: int = 0

    def __add__(self, more: Entry) -> Entry:
        """Both as one: counts add up; a tag is set if it is set in one of them."""
        tags = {at: max(self.tags.get(at, 0), more.tags.get(at, 0)) for at in self.tags | more.tags}
        return Entry(counts=self.counts + more.counts, tags=tags, open=self.open + more.open)


def read(answer: str) -> dict[str, Entry]:
    """By key, from the answer for one table."""
    found: dict[str, Entry] = {}
    for line in answer.splitlines():
        if match := _ENTRY.search(line):
            key, entry = match["key"], _entry(match["data"])
            found[key] = found[key] + entry if key in found else entry
    return found


def _entry(data: str) -> Entry:
    counts: Counter[int] = Counter()
    tags, connections = {}, 0
    for kind, at, number in _DATA.findall(data):
        if kind == "gpc":
            counts[int(at)] = int(number)
        elif kind == "gpt":
            tags[int(at)] = int(number)
        else:
            connections = int(number)
    return Entry(counts=counts, tags=tags, open=connections)
