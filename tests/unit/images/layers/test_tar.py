"""The fast parser of tar headers agrees with tarfile."""

from __future__ import annotations

import tarfile

from hypothesis import given
from hypothesis import strategies as st

from devbox.images.layers.tar import TarEntry

_KINDS = b"01234567LKSxg\0"
_MOST = 8**11 - 1
_SHOWN = (
    *("name", "mode", "uid", "gid", "size", "mtime", "chksum", "type", "linkname", "uname", "gname"),
    *("devmajor", "devminor"),
)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Blocks that are headers, some of them damaged, their checksums right or not."""
    entry = tarfile.TarInfo(draw(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)))
    entry.type = bytes([draw(st.sampled_from(_KINDS))])
    entry.mode, entry.uid, entry.gid = (draw(st.integers(0, 0o7777777)) for _ in range(3))
    entry.size, entry.mtime = draw(st.integers(0, _MOST)), draw(st.integers(0, _MOST))
    entry.linkname = draw(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")[-512:])
    for at, byte in draw(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=4)):
        block[at] = byte
    if draw(st.booleans()):
        block[148:156] = b"%06o\0 " % (256 + sum(block) - sum(block[148:156]))
    return bytes(block)


def read(kind: type[tarfile.TarInfo], block: bytes) -> object:
    """The result for a block: the entry's fields, or the kind of error."""
    try:
        entry = kind.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return type(error)
    return [getattr(entry, name) for name in _SHOWN]


@given(headers())
def test_an_entry_is_what_tarfile_makes_of_it(block: bytes) -> None:
    assert read(TarEntry, block) == read(tarfile.TarInfo, block)
