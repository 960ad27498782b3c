"""Streaming tar reader for a layer's blob: one pass, bounded memory, untrusted input.

Size and digests are verified in passing, and completely at the end: a caller must not use any content of a layer before
`finish` has returned.
"""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from tarfile import BLOCKSIZE
from typing import IO, Any, NamedTuple, Self, TypeVar, cast

from devbox.errors import BakeFailed
from devbox.host.disk import format_size
from devbox.images.layers import compression

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8x32s32s8s8s155s12x")
_COMMON = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


class TarEntry(tarfile.TarInfo):
    """A tar entry with a fast header parser."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header block; raise tarfile.HeaderError."""
        try:
            return cls._parse_fast(bytes(buf), encoding, errors)
        except (ValueError, struct.error):
            return super().frombuf(buf, encoding, errors)

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Read the next entry of an archive like tarfile, whose newer versions do not call `frombuf`."""
        archive: Any = tarfile
        entry: Any = cls.frombuf(archive.fileobj.read(BLOCKSIZE), archive.encoding, archive.errors)
        entry.offset = archive.fileobj.tell() - BLOCKSIZE
        found: Self = entry._proc_member(archive)  # noqa: SLF001 - documented for subclasses
        return found

    @classmethod
    def _parse_fast(cls, buf: bytes, encoding: str, errors: str) -> Self:
        """Parse a common header; raise ValueError if tarfile must parse it."""
        name, mode, uid, gid, size, mtime, checksum, kind, link, user, group, major, minor, prefix = _FIELDS.unpack(buf)
        if kind not in _COMMON or _parse_number(checksum) != _sum_bytes(buf) - sum(checksum) + 8 * ord(" "):
            raise ValueError
        entry = cls(_parse_text(name, encoding, errors))
        entry.mode, entry.uid, entry.gid = _parse_number(mode), _parse_number(uid), _parse_number(gid)
        entry.size, entry.mtime, entry.chksum, entry.type = (
            _parse_number(size),
            _parse_number(mtime),
            _parse_number(checksum),
            kind,
        )
        entry.devmajor, entry.devminor = _parse_number(major), _parse_number(minor)
        entry.linkname = _parse_text(link, encoding, errors)
        entry.uname, entry.gname = _parse_text(user, encoding, errors), _parse_text(group, encoding, errors)
        if kind == tarfile.DIRTYPE:
            entry.name = entry.name.rstrip("/")
        if prefix[0]:
            entry.name = f"{_parse_text(prefix, encoding, errors)}/{entry.name}"
        return entry


def _sum_bytes(block: bytes) -> int:
    return sum(block.translate(None, b"\0"))  # most of a header is zeros


def _parse_text(field: bytes, encoding: str, errors: str) -> str:
    return field.partition(b"\0")[0].decode(encoding, errors)


def _parse_number(field: bytes) -> int:
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


CHUNK = 1 << 20
MOST_HEADER = 1 << 20  # bytes of one entry's headers: names and attributes
MOST_ENTRIES = 4_000_000
MOST = 1 << 40  # default limit in bytes for decompressed data, if nothing is written
_T = TypeVar("_T")


class ExpectedLayer(NamedTuple):
    """Expected properties of a layer's blob: its size in bytes, its digest, and the digest of its tar."""

    size: int
    digest: str
    diff_id: str


class TarStream:
    """The tar in a blob, plain or compressed, regardless of its media type.

    `promised` is verified against the bytes; None for a blob of this process's own, or without expectations. `what`
    names it in errors. `most`: limit in bytes for decompressed data, such as the free space. tarfile reads headers
    through `read`, `seek` and `tell`; content is read by `read_content`.
    """

    def __init__(
        self, blob: IO[bytes], promised: ExpectedLayer | None, *, what: str = "the layer", most: int = MOST
    ) -> None:
        self._promised = promised
        self._most = most
        self._what = what
        self._blob = self._plain = compression.HashedFile(blob, hashes=promised is not None)
        magic = self._blob.peek(compression.MAGIC)
        self.packed = bool(compression.detect_kind(magic))
        unpacked, self._damage = compression.open_unpacked(cast("IO[bytes]", self._blob), magic)
        if self.packed:
            self._plain = compression.HashedFile(unpacked, hashes=promised is not None)
        self._position = 0
        self._allowance = MOST_HEADER
        self._last = b""

    def read_entries(self) -> Iterator[tarfile.TarInfo]:
        """Yield every entry in order. Its content must be read before the next entry is requested."""
        try:
            archive = tarfile.TarFile(fileobj=cast("IO[bytes]", self), tarinfo=TarEntry, encoding="utf-8", errorlevel=2)
            entry = archive.firstmember  # type: ignore[attr-defined]  # read by TarFile
            for _ in range(MOST_ENTRIES):
                _check_global_headers(archive.pax_headers)
                if entry is None:
                    self._expect_end()
                    return
                yield entry
                entry = self._read_next(archive)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise BakeFailed(f"{self._what} is not a valid tar: {_format_error(error)}") from None
        raise BakeFailed(f"{self._what} has more than {MOST_ENTRIES:,} entries")

    def _read_next(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        """Read the next entry like TarFile, which is slower and keeps all entries."""
        self.seek(archive.offset)
        self._allowance = MOST_HEADER
        try:
            return TarEntry.fromtarfile(archive)
        except tarfile.SubsequentHeaderError:  # type: ignore[attr-defined]  # a truncated entry
            raise
        except tarfile.HeaderError:
            return None

    def _expect_end(self) -> None:
        """Verify the end of the archive: tarfile treats a damaged header as the end."""
        if self._last.strip(b"\0"):
            raise BakeFailed(f"{self._what} is not a valid tar: no entry at byte {self._position:,}")

    def read_content(self, count: int) -> bytes:
        """Read at most `count` bytes; fewer only at the end of a block."""
        data = self._read_safely(self._plain.read, count)
        self._advance(len(data))
        return data

    def skip(self, count: int) -> int:
        """Skip at most `count` bytes like `read_content`; return their number."""
        passed = self._read_safely(self._plain.skip, count)
        self._advance(passed)
        return passed

    def _read_safely(self, take: Callable[[int], _T], count: int) -> _T:
        try:
            return take(count)
        except EOFError:
            raise BakeFailed(f"the compressed data of {self._what} is truncated") from None
        except self._damage as error:
            raise BakeFailed(f"the compressed data of {self._what} is damaged: {_format_error(error)}") from None

    def _advance(self, count: int) -> None:
        self._position += count
        if self.packed and self._position > self._most:
            raise BakeFailed(
                f"cannot unpack {self._what}: more than the free disk space of {format_size(self._most)} "
                f"after {format_size(self._blob.count)} of input",
                remedy="free disk space (devbox image gc, df -h), or use another image",
            )

    def finish(self) -> None:
        """Read to the end and verify the expected properties."""
        while self.skip(CHUNK):
            pass
        if not self._promised:
            return
        while self._blob.read(CHUNK):  # data after the compressed stream
            pass
        if self._blob.count != self._promised.size:
            raise BakeFailed(
                f"size mismatch of {self._what}: expected {self._promised.size:,} bytes, got {self._blob.count:,}"
            )
        if self._blob.get_digest() != self._promised.digest:
            raise BakeFailed(
                f"digest mismatch of {self._what}: expected {self._promised.digest}, got {self._blob.get_digest()}"
            )
        if self._plain.get_digest() != self._promised.diff_id:
            raise BakeFailed(f"the unpacked content of {self._what} does not match the diff id in the image's config")

    # tarfile's file interface: forward only, with a limit between two entries.

    def read(self, count: int) -> bytes:
        """Read bytes of headers."""
        if not 0 <= count <= self._allowance:
            raise BakeFailed(f"{self._what} has an entry with more than {MOST_HEADER >> 20} MiB of headers")
        self._allowance -= count
        self._last = self.read_content(count)
        if len(self._last) < count:
            self._last = b"".join(self._read_pieces(self._last, count))
        return self._last

    def _read_pieces(self, piece: bytes, count: int) -> Iterator[bytes]:
        """Yield `piece` and the following pieces, up to `count` bytes or the end."""
        while piece:
            yield piece
            count -= len(piece)
            piece = self.read_content(count)

    def seek(self, position: int) -> None:
        """Skip forward to a position."""
        if position < self._position:
            raise BakeFailed(f"{self._what} is not a valid tar: an entry has a negative size")
        while self._position < position:
            if not self.skip(position - self._position):
                raise BakeFailed(f"{self._what} ends inside an entry")

    def tell(self) -> int:
        """Return the current position in the tar."""
        return self._position


def _check_global_headers(headers: Mapping[str, str]) -> None:
    """Refuse global attributes: other readers of layers ignore them and see a different image."""
    if unknown := headers.keys() - {"comment"}:
        raise BakeFailed(f"unsupported global header in the layer: {min(unknown)!r:.80}")


def _format_error(error: Exception) -> str:
    return repr(str(error).partition("\n")[0][:200])[1:-1] or type(error).__name__
