"""The paths that a repository's index has, as gitformat-index(5) says: what was added, committed or not."""

from __future__ import annotations

import struct

from devbox.host.beneath import read_all
from devbox.host.repository.find import Repository

_LARGEST = 128 << 20
_HEAD, _FACTS = 12, 40  # bytes before the first entry, and of an entry before its hash
_EXTENDED, _NAME_MASK = 0x4000, 0x0FFF
_VERSIONS = (2, 3, 4)
_PACKED_PATHS = 4


def paths(repository: Repository, *, hash_length: int) -> list[str] | None:
    """The paths of the index; None where there is none that can be read. `hash_length`: in bytes."""
    try:
        with repository.own.open() as place, open(place.open("index"), "rb") as source:
            raw = read_all(source, "index", limit=_LARGEST)
        mark, version, count = struct.unpack(">4sII", raw[:_HEAD])
        if mark != b"DIRC" or version not in _VERSIONS:
            return None
        return _entries(raw, version, count, hash_length)
    except (OSError, ValueError, struct.error, IndexError):
        return None


def _entries(raw: bytes, version: int, count: int, hash_length: int) -> list[str]:
    found, at, last = [], _HEAD, b""
    for _ in range(count):
        start, at = at, at + _FACTS + hash_length
        (flags,) = struct.unpack_from(">H", raw, at)
        at += 4 if flags & _EXTENDED else 2
        if version == _PACKED_PATHS:
            gone, at = _offset(raw, at)
            end = raw.index(b"\0", at)
            name, at = last[: len(last) - gone] + raw[at:end], end + 1
        else:
            end = raw.index(b"\0", at)
            name, at = raw[at:end], start + ((end - start + 8) & ~7)
        last = name
        found.append(name.decode(errors="surrogateescape"))
    return found


def _offset(raw: bytes, at: int) -> tuple[int, int]:
    """A number as in packs: each byte but the last adds one."""
    value = raw[at] & 0x7F
    while raw[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (raw[at] & 0x7F)
    return value, at + 1
