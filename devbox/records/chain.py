"""Whether entries are the ones that were written: each is authenticated and follows the one before. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from devbox.model.entry import GENESIS, Entry, Head

LAG = 1  # entries that the head of a killed writer may be behind

Sign = Callable[[str, str], str]  # the MAC of an entry, from its hash and the MAC before it


def head_of(entries: Sequence[Entry]) -> Head:
    """The head of a chain."""
    return Head(seq=entries[-1].seq, hash=entries[-1].hash, at=entries[-1].at) if entries else Head()


def fault(entries: Sequence[Entry], head: Head) -> str:
    """What is wrong with the entries, seen from the head that was kept; "" for nothing."""
    previous = GENESIS
    for number, entry in enumerate(entries, start=1):
        if entry.seq != number:
            return f"entry {number} is missing"
        if entry.previous != previous or entry.computed() != entry.hash:
            return f"entry {number} was changed"
        previous = entry.hash
    return _fault_of_head(entries, head)


def unsigned(entries: Sequence[Entry], macs: Sequence[str], sign: Sign) -> str:
    """Name the first entry that this host did not write to this ledger; "" if it wrote them all."""
    previous = ""
    for entry, mac in zip(entries, macs, strict=True):
        if not hmac.compare_digest(sign(entry.hash, previous).encode(), mac.encode(errors="replace")):
            return f"entry {entry.seq} was not written by this host"
        previous = mac
    return ""


def _fault_of_head(entries: Sequence[Entry], head: Head) -> str:
    if head.seq > len(entries):
        return f"it ends at entry {len(entries)}, and entry {head.seq} was written"
    if head.hash != (entries[head.seq - 1].hash if head.seq else GENESIS):
        return f"entry {head.seq} is another than the head was made of"
    if len(entries) - head.seq > LAG:
        return f"entries follow on entry {head.seq}, the last one that is remembered"
    return ""
