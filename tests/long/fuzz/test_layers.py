"""Generated tar files: nothing outside the target directory changes, and every fault raises a DevboxError."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from support.fuzzing import LENGTHS, fuzz
from support.hostile_layers import END, entry, gz, header, pax, zstd
from support.machine import lacking

from devbox.errors import BakeFailed
from devbox.images.layers.unpack import unpack

PARTS = ["a", "b", "..", ".", "", "etc", "link", ".wh.a", ".wh..wh..opq", ".wh..", "\x1b[2J", "a\nb", "ä", "n" * 300]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("/".join)
TARGETS = st.one_of(NAMES, st.sampled_from(["/", "..", "../../..", "/etc", "/proc/self/root", "."]))
KINDS = st.sampled_from([*(b"%d" % number for number in range(8)), b"S", b"L", b"K", b"V", b"Z"])
RECORDS = st.dictionaries(
    st.sampled_from(
        [
            *("path", "linkpath", "size", "uid", "gid", "mtime", "hdrcharset", "comment"),
            *("GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.size", "GNU.sparse.realsize"),
            *("SCHILY.xattr.user.x", "SCHILY.xattr.security.capability", "SCHILY.xattr.trusted.overlay.opaque"),
        ]
    ),
    st.one_of(st.binary(max_size=40), st.integers(-(2**70), 2**70).map(lambda number: b"%d" % number)),
    max_size=3,
)
PIECES = st.one_of(
    st.builds(
        lambda name, data, kind, link, mode: entry(
            name, data if kind == b"0" else b"", kind=kind, link=link, mode=mode
        ),
        NAMES,
        st.binary(max_size=700),
        KINDS,
        TARGETS,
        st.integers(0, 0o7777),
    ),
    st.builds(
        lambda name, size, kind: header(name, size=size, kind=kind),
        st.binary(max_size=100),
        st.one_of(st.integers(0, 8**11 - 1).map(lambda number: b"%o" % number), st.binary(max_size=12)),
        KINDS,
    ),
    st.builds(
        lambda records, kind, lie: pax(records, kind=kind, lie=lie),
        RECORDS,
        st.sampled_from([b"x", b"g"]),
        st.sampled_from([0, 0, 0, 1, 600]),
    ),
    st.just(END),
    st.binary(max_size=600),
)
DAMAGES = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4)
PACKS: Any = st.sampled_from([bytes, bytes, gz, zstd])


@st.composite
def blobs(draw: st.DrawFn) -> bytes:
    """Entries, some damaged, packed somehow, and damaged again."""
    tar = _damaged(b"".join(draw(st.lists(PIECES, max_size=6))) + draw(st.sampled_from([END, END, b""])), draw(DAMAGES))
    packed = draw(PACKS)(tar)
    return packed if draw(st.booleans()) else _damaged(packed, draw(DAMAGES))


def _damaged(data: bytes, damages: list[tuple[int, int]]) -> bytes:
    raw = bytearray(data)
    for place, value in damages:
        if raw:
            raw[place % len(raw)] = value
    return bytes(raw)


@LENGTHS
def test_layers(seconds: float, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root may chroot")
    base = tmp_path / "base"
    (base / "beside").mkdir(parents=True)
    (base / "beside" / "file").write_text("untouched")
    before = _tree(tmp_path)

    def check(blob: bytes) -> None:
        (base / "layer").write_bytes(blob)
        (base / "fs").mkdir()
        said = _error(str(base / "layer"), str(base / "fs"))
        assert not re.search(r"\b[A-Z]\w*(Error|Exception)\b|helper process", said), said
        assert said.replace("\n", "").isprintable(), said
        shutil.rmtree(base / "fs")
        (base / "layer").unlink()
        assert _tree(tmp_path) == before

    fuzz(check, blobs(), count=150, seconds=seconds)


def _error(blob: str, target: str) -> str:
    """devbox's error for a layer; empty for a valid one."""
    try:
        unpack(blob, target, rootless=False)
    except BakeFailed as error:
        return error.render()
    return ""


def _tree(top: Path) -> list[Any]:
    """Every path with its mode, and its size where it is a file."""
    facts = sorted((str(path), path.lstat()) for path in top.rglob("*"))
    return [(path, each.st_mode, 0 if stat.S_ISDIR(each.st_mode) else each.st_size) for path, each in facts]
