"""Streaming decompression of gzip, zstd and xz with bounded memory, for untrusted input."""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    import lzma

MAGIC = 6  # leading bytes that identify the compression
ZSTD = b"\x28\xb5\x2f\xfd"
_MAGICS = {b"\x1f\x8b": "gzip", ZSTD: "zstd", b"\xfd7zXZ\x00": "xz"}
_CHUNK = 1 << 20
_MOST_WINDOW = 27  # log2 of the window size in bytes; the zstd program's default limit
_MOST_MEMORY = 1 << 27  # bytes for decompressing xz; `xz -9` needs half


def detect_kind(magic: bytes) -> str:
    """Return the compression of data with these first bytes: "gzip", "zstd", "xz"; "" if uncompressed."""
    return next((name for sign, name in _MAGICS.items() if magic.startswith(sign)), "")


def open_unpacked(source: IO[bytes], magic: bytes) -> tuple[IO[bytes], tuple[type[Exception], ...]]:
    """Return the decompressed stream of `source`, which begins with `magic`, and the exceptions for corrupt data.

    A truncated stream raises EOFError.
    """
    match detect_kind(magic):
        case "gzip":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=source)), (gzip.BadGzipFile, zlib.error)
        case "zstd":
            if sys.version_info >= (3, 14):
                from compression import zstd
            else:
                from backports import zstd
            most_memory = {int(zstd.DecompressionParameter.window_log_max): _MOST_WINDOW}
            return cast("IO[bytes]", zstd.ZstdFile(source, options=most_memory)), (zstd.ZstdError,)
        case "xz":
            import lzma

            return cast("IO[bytes]", _XzReader(source)), (lzma.LZMAError,)
    return source, ()


class HashedFile:
    """A file read in blocks that are counted, and hashed if `hashes`."""

    def __init__(self, source: IO[bytes], *, hashes: bool) -> None:
        self._source = source
        self._digest = hashlib.sha256() if hashes else None
        self._block = b""
        self._used = 0
        self.count = 0

    def peek(self, count: int) -> bytes:
        """Return the first bytes without consuming them."""
        self._fill()
        return self._block[:count]

    def read(self, count: int = _CHUNK) -> bytes:
        """Read at most `count` bytes; fewer also at the end of a block, b"" at the end of the file."""
        if self._used == len(self._block):
            self._fill()
        data = self._block[self._used : self._used + count]
        self._used += len(data)
        return data

    def skip(self, count: int) -> int:
        """Skip at most `count` bytes; return their number: fewer also at a block's end, 0 at the file's end."""
        if self._used == len(self._block):
            self._fill()
        passed = min(count, len(self._block) - self._used)
        self._used += passed
        return passed

    def get_digest(self) -> str:
        """Return the digest of all bytes read so far."""
        return f"sha256:{self._digest.hexdigest()}" if self._digest else ""

    def _fill(self) -> None:
        self._block, self._used = self._source.read(_CHUNK), 0
        self.count += len(self._block)
        if self._digest:
            self._digest.update(self._block)


class _XzReader:
    """Decoder of concatenated xz streams with zero padding, as in the xz program."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decoder = _create_decoder()

    def read(self, count: int) -> bytes:
        """Read at most `count` decompressed bytes; b"" at the end."""
        while True:
            if self._decoder.eof:
                packed = self._read_next_stream()
                if not packed:
                    return b""
                self._decoder = _create_decoder()
            else:
                packed = self._source.read(_CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not packed:
                    raise EOFError
            if data := self._decoder.decompress(packed, count):
                return data

    def _read_next_stream(self) -> bytes:
        """Return the beginning of the next stream; b"" at the end."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest and (more := self._source.read(_CHUNK)):
            rest = more.lstrip(b"\0")
        return rest


def _create_decoder() -> lzma.LZMADecompressor:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
