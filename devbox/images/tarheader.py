"""The header of a tar's entry, read at once where it is as almost all are: tarfile takes ten times as long for each.

Equal to what tarfile makes of it, which reads every other one.
"""

from __future__ import annotations

import struct
import tarfile
from tarfile import BLOCKSIZE
from typing import Any, Self

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8x32s32s8s8s155s12x")
_COMMON = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


class Entry(tarfile.TarInfo):
    """An entry of a tar."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The entry of a header block; raises tarfile.HeaderError."""
        try:
            return cls._at_once(bytes(buf), encoding, errors)
        except (ValueError, struct.error):
            return super().frombuf(buf, encoding, errors)

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """The next entry of an archive, as tarfile reads it: newer ones do not ask `frombuf` by themselves."""
        archive: Any = tarfile
        entry: Any = cls.frombuf(archive.fileobj.read(BLOCKSIZE), archive.encoding, archive.errors)
        entry.offset = archive.fileobj.tell() - BLOCKSIZE
        found: Self = entry._proc_member(archive)  # noqa: SLF001 - documented for subclasses
        return found

    @classmethod
    def _at_once(cls, buf: bytes, encoding: str, errors: str) -> Self:
        """Raises ValueError where tarfile has to look."""
        name, mode, uid, gid, size, mtime, checksum, kind, link, user, group, major, minor, prefix = _FIELDS.unpack(buf)
        if kind not in _COMMON or _number(checksum) != _sum(buf) - sum(checksum) + 8 * ord(" "):
            raise ValueError
        entry = cls(_text(name, encoding, errors))
        entry.mode, entry.uid, entry.gid = _number(mode), _number(uid), _number(gid)
        entry.size, entry.mtime, entry.chksum, entry.type = _number(size), _number(mtime), _number(checksum), kind
        entry.devmajor, entry.devminor = _number(major), _number(minor)
        entry.linkname = _text(link, encoding, errors)
        entry.uname, entry.gname = _text(user, encoding, errors), _text(group, encoding, errors)
        if kind == tarfile.DIRTYPE:
            entry.name = entry.name.rstrip("/")
        if prefix[0]:
            entry.name = f"{_text(prefix, encoding, errors)}/{entry.name}"
        return entry


def _sum(block: bytes) -> int:
    return sum(block.translate(None, b"\0"))  # most of a header is zeros


def _text(field: bytes, encoding: str, errors: str) -> str:
    return field.partition(b"\0")[0].decode(encoding, errors)


def _number(field: bytes) -> int:
    return int(field.partition(b"\0")[0].strip() or b"0", 8)
