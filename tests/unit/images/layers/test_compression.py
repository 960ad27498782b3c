"""Compressed data round-trips; damaged and oversized data are errors."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable

import pytest
from support.hostile_layers import zstandard

from devbox.images.layers import compression

DATA = b"data" * 500_000
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
}


def out_of(raw: bytes) -> bytes:
    source, damage = compression.open_unpacked(io.BytesIO(raw), raw[: compression.MAGIC])
    pieces = []
    try:
        while piece := source.read(1000):
            pieces.append(piece)
    except damage as error:
        raise ValueError(str(error)) from None
    return b"".join(pieces)


@pytest.mark.parametrize("kind", PACKED)
def test_what_went_in_comes_out(kind: str):
    raw = PACKED[kind](DATA)
    assert compression.detect_kind(raw) == kind
    assert out_of(raw) == DATA


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
def test_streams_may_follow_each_other(kind: str):
    pack = PACKED[kind]
    assert out_of(pack(DATA) + pack(b"more")) == DATA + b"more"


def test_xz_may_end_in_zeros():
    assert out_of(lzma.compress(DATA) + bytes(8)) == DATA


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
def test_a_premature_end_of_data_is_an_error(kind: str):
    with pytest.raises((EOFError, ValueError)):
        out_of(PACKED[kind](DATA)[:-10])


def test_xz_that_requires_all_memory_is_refused():
    """Only the header is changed: a dictionary of a gigabyte, and the sum set right."""
    raw = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    end = 12 + (raw[12] + 1) * 4 - 4
    raw[raw.index(b"\x21\x01", 12) + 2] = 36
    raw[end : end + 4] = zlib.crc32(raw[12:end]).to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"(?i)memory"):
        out_of(bytes(raw))
