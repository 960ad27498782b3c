"""Packed data, unpacked as it is read: gzip, zstd, xz. Whoever packed it may be an enemy: memory is bounded."""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    import lzma

MAGIC = 6  # bytes at the beginning that tell how something is packed
_MAGICS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
_CHUNK = 1 << 20
_MOST_WINDOW = 27  # log2 of the bytes that unpacking zstd may keep: what its own program takes without being told
_MOST_MEMORY = 1 << 27  # bytes for unpacking xz: what its own program needs for `xz -9` is half of it


def kind(magic: bytes) -> str:
    """How data is packed that begins so: "gzip", "zstd", "xz"; "" for plain data."""
    return next((name for sign, name in _MAGICS.items() if magic.startswith(sign)), "")


def unpacked(source: IO[bytes], magic: bytes) -> tuple[IO[bytes], tuple[type[Exception], ...]]:
    """The bytes that are packed in `source`, which begins with `magic`, and what damage in them raises.

    An end that comes too early is an EOFError.
    """
    match kind(magic):
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

            return cast("IO[bytes]", _Xz(source)), (lzma.LZMAError,)
    return source, ()


class Hashed:
    """A file that is counted, and hashed if `wanted`, as it is read."""

    def __init__(self, source: IO[bytes], *, wanted: bool) -> None:
        self._source = source
        self._hash = hashlib.sha256() if wanted else None
        self.count = 0
        self._ahead = b""

    def peek(self, count: int) -> bytes:
        """The first bytes, which are read again afterwards."""
        self._ahead = self._source.read(count)
        return self._ahead

    def read(self, count: int = -1) -> bytes:
        """Bytes of the blob."""
        if self._ahead:
            data, self._ahead = self._ahead[:count], self._ahead[count:]
        else:
            data = self._source.read(count)
        self.count += len(data)
        if self._hash:
            self._hash.update(data)
        return data

    def digest(self) -> str:
        """Of everything read so far."""
        return f"sha256:{self._hash.hexdigest()}" if self._hash else ""


class _Xz:
    """Streams of xz one after the other, with zeros between, as its own program reads them."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decoder = _decoder()

    def read(self, count: int) -> bytes:
        """Unpacked bytes, at most `count`; none at the end."""
        while True:
            if self._decoder.eof:
                packed = self._next_stream()
                if not packed:
                    return b""
                self._decoder = _decoder()
            else:
                packed = self._source.read(_CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not packed:
                    raise EOFError
            if data := self._decoder.decompress(packed, count):
                return data

    def _next_stream(self) -> bytes:
        """The beginning of what follows a stream; b"" at the end."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest and (more := self._source.read(_CHUNK)):
            rest = more.lstrip(b"\0")
        return rest


def _decoder() -> lzma.LZMADecompressor:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
