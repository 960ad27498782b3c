"""Objects in the packs of a repository, as gitformat-pack(5) has them. Nothing is believed but by its bounds."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devbox.host.beneath import Project

_DIRECTORY = "objects/pack"
_MAGIC = b"\377tOc\0\0\0\2"
_FANOUT = 8 + 256 * 4
_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_BY_OFFSET, _BY_NAME = 6, 7
_MOST_PACKS = 10_000
_LONGEST_CHAIN = 4096
_LARGEST = 32 << 20  # bytes of an object
_PIECE = 4096
_BUDGET = 1 << 30
_KEPT = 16 << 20  # bytes of objects that others are made from
_FAR = 1 << 31


class Unreadable(Exception):
    """An object is missing, damaged, or larger than all that devbox reads."""


class Budget:
    """What may be unpacked of a repository in all."""

    def __init__(self) -> None:
        self._left = _BUDGET

    def take(self, size: int) -> None:
        """Count bytes that are unpacked. Unreadable when there are too many."""
        self._left -= size
        if self._left < 0:
            raise Unreadable("there is more in it than devbox reads")


class Packs:
    """All packs of a repository."""

    def __init__(self, project: Project, budget: Budget) -> None:
        self._project = project
        self._budget = budget
        self._opened: list[_Pack] | None = None

    def close(self) -> None:
        """Close them."""
        for pack in self._opened or ():
            pack.close()

    def read(self, name: str) -> tuple[str, bytes] | None:
        """The kind of an object and what it holds; None where no pack has it. Unreadable for a damaged one."""
        raw = bytes.fromhex(name)
        try:
            for pack in self._packs():
                at = pack.find(raw)
                if at is not None:
                    return pack.read(at, len(raw))
        except (OSError, struct.error, zlib.error, IndexError) as error:
            raise Unreadable(f"{name}: {error}") from None
        return None

    def _packs(self) -> list[_Pack]:
        if self._opened is None:
            self._opened = []
            try:
                directory = self._project.directory(_DIRECTORY)
            except OSError:
                return self._opened
            try:
                names = sorted(name[:-4] for name in os.listdir(directory)[:_MOST_PACKS] if name.endswith(".idx"))
            finally:
                os.close(directory)
            for name in names:
                try:
                    self._opened.append(_Pack(self._project, f"{_DIRECTORY}/{name}", self._budget))
                except OSError:
                    continue
        return self._opened


class _Pack:
    def __init__(self, project: Project, path: str, budget: Budget) -> None:
        self._budget = budget
        self._bases: dict[int, tuple[str, bytes]] = {}
        self._kept = 0
        self._index = project.open(f"{path}.idx")
        try:
            self._data = project.open(f"{path}.pack")
        except OSError:
            os.close(self._index)
            raise
        head = os.pread(self._index, _FANOUT, 0)
        self._usable = head.startswith(_MAGIC) and len(head) == _FANOUT
        self._fanout = struct.unpack(">256I", head[8:]) if self._usable else ()

    def close(self) -> None:
        os.close(self._index)
        os.close(self._data)

    def find(self, name: bytes) -> int | None:
        """Where in the pack an object begins; None where it is not in there."""
        if not self._usable:
            return None
        low, high = self._fanout[name[0] - 1] if name[0] else 0, self._fanout[name[0]]
        while low < high:
            middle = (low + high) // 2
            found = os.pread(self._index, len(name), _FANOUT + middle * len(name))
            if found == name:
                return self._offset(middle, len(name))
            low, high = (middle + 1, high) if found < name else (low, middle)
        return None

    def _offset(self, number: int, length: int) -> int:
        count = self._fanout[255]
        offsets = _FANOUT + count * (length + 4)
        (near,) = struct.unpack(">I", os.pread(self._index, 4, offsets + number * 4))
        if near < _FAR:
            return int(near)
        (far,) = struct.unpack(">Q", os.pread(self._index, 8, offsets + count * 4 + (near - _FAR) * 8))
        return int(far)

    def read(self, at: int, length: int) -> tuple[str, bytes]:
        """The kind of the object there and what it holds, made from all that it builds on."""
        chain: list[tuple[int, bytes]] = []
        while (known := self._bases.get(at)) is None:
            kind, size, base, data = self._entry(at, length)
            if kind in _KINDS:
                known = (_KINDS[kind], self._unpacked(data, size))
                self._keep(at, known)
                break
            chain.append((at, self._unpacked(data, size)))
            if len(chain) > _LONGEST_CHAIN or base is None or base <= 0:
                raise Unreadable("an object builds on too many others")
            at = base
        for at, delta in reversed(chain):
            known = (known[0], self._applied(known[1], delta))
            self._keep(at, known)
        return known

    def _keep(self, at: int, known: tuple[str, bytes]) -> None:
        if self._kept > _KEPT:
            self._bases.clear()
            self._kept = 0
        self._bases[at] = known
        self._kept += len(known[1])

    def _entry(self, at: int, length: int) -> tuple[int, int, int | None, int]:
        """The kind of an entry, its size, where its base is, and where its packed data begins."""
        raw, next_ = os.pread(self._data, 64, at), 1
        kind, size, shift = raw[0] >> 4 & 7, raw[0] & 15, 4
        while raw[next_ - 1] & 0x80:
            size |= (raw[next_] & 0x7F) << shift
            next_, shift = next_ + 1, shift + 7
        base: int | None = None
        if kind == _BY_OFFSET:
            back, next_ = raw[next_] & 0x7F, next_ + 1
            while raw[next_ - 1] & 0x80:
                back, next_ = ((back + 1) << 7) | (raw[next_] & 0x7F), next_ + 1
            base = at - back
        elif kind == _BY_NAME:
            base, next_ = self.find(raw[next_ : next_ + length]), next_ + length
        elif kind not in _KINDS:
            raise Unreadable("there is no such kind of object")
        return kind, size, base, at + next_

    def _unpacked(self, at: int, size: int) -> bytes:
        if size > _LARGEST:
            raise Unreadable("an object is larger than all that devbox reads")
        self._budget.take(size)
        unpacking, made, length = zlib.decompressobj(), b"", min(max(_PIECE, size), 1 << 20)
        while len(made) < size:
            raw = unpacking.unconsumed_tail or os.pread(self._data, length, at)
            if not raw:
                raise Unreadable("a pack ends too early")
            at += 0 if unpacking.unconsumed_tail else len(raw)
            piece = unpacking.decompress(raw, size - len(made))
            if unpacking.eof and len(made) + len(piece) < size:
                raise Unreadable("an object is shorter than it says")
            made += piece
        return made

    def _applied(self, base: bytes, delta: bytes) -> bytes:
        """What a delta makes of its base."""
        from_size, at = _varint(delta, 0)
        size, at = _varint(delta, at)
        if from_size != len(base) or size > _LARGEST:
            raise Unreadable("a delta does not fit what it builds on")
        self._budget.take(size)
        made = bytearray()
        while at < len(delta):
            code = delta[at]
            at += 1
            if code & 0x80:
                start, length, at = _copied(delta, at, code)
                if start + length > len(base):
                    raise Unreadable("a delta does not fit what it builds on")
                made += base[start : start + length]
            else:
                made += delta[at : at + code]
                at += code
            if not code or len(made) > size:
                raise Unreadable("a delta makes something else than it says")
        return bytes(made)


def _copied(delta: bytes, at: int, code: int) -> tuple[int, int, int]:
    """What a copy instruction names: where it begins, how long it is; and where the next one is."""
    values = []
    for bits in (range(4), range(4, 7)):
        value = 0
        for place, bit in enumerate(bits):
            if code & 1 << bit:
                value |= delta[at] << 8 * place
                at += 1
        values.append(value)
    return values[0], values[1] or 0x10000, at


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
