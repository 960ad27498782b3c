"""Parser for the entries of a HAProxy stick table, as printed by `show table`.

HAProxy before October 2025, such as 3.0.11, may create several entries for one string key if its first requests arrive
at the same time, as after a restart: inserting a key also compares the bytes after its end. All later requests are
counted in one of these entries. See https://github.com/haproxy/haproxy/issues/3161.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import field

from devbox.model.frozen import dataclass

_ENTRY = re.compile(r"\bkey=(?P<key>\S+) (?P<data>.*)")
_DATA = re.compile(r"\b(gpc|gpt|conn_cur)(\d*)=(\d+)")


@dataclass(frozen=True, kw_only=True)
class StickTableEntry:
    """Data of one key: general-purpose counters and tags by number, and open connections."""

    counts: Counter[int] = field(default_factory=Counter)
    tags: dict[int, int] = field(default_factory=dict)
    open: int = 0

    def __add__(self, more: StickTableEntry) -> StickTableEntry:
        """Merge two entries: counts add up; a tag is set if either entry has set it."""
        tags = {at: max(self.tags.get(at, 0), more.tags.get(at, 0)) for at in self.tags | more.tags}
        return StickTableEntry(counts=self.counts + more.counts, tags=tags, open=self.open + more.open)


def read_entries(answer: str) -> dict[str, StickTableEntry]:
    """Return the entries by key, from the answer for one table."""
    found: dict[str, StickTableEntry] = {}
    for line in answer.splitlines():
        if match := _ENTRY.search(line):
            key, entry = match["key"], _parse_entry(match["data"])
            found[key] = found[key] + entry if key in found else entry
    return found


def _parse_entry(data: str) -> StickTableEntry:
    counts: Counter[int] = Counter()
    tags, connections = {}, 0
    for kind, at, number in _DATA.findall(data):
        if kind == "gpc":
            counts[int(at)] = int(number)
        elif kind == "gpt":
            tags[int(at)] = int(number)
        else:
            connections = int(number)
    return StickTableEntry(counts=counts, tags=tags, open=connections)
